"""Mistakes that type checkers must find, and nothing else.

A line with a mistake ends with the rules that find it: mypy's, then pyright's (or - for
none).
"""

import datacat
from datacat import AsyncSession, DatacatClient, HeartbeatMonitor, Session, Stats, create_session
from datacat.integrations.asyncio import watch


def options() -> None:
    create_session(time_out=5)  # call-arg reportCallIssue
    create_session(connect_wait="2")  # arg-type reportArgumentType
    create_session(durability="disk")  # arg-type reportArgumentType
    create_session(proxies="http://proxy")  # arg-type reportArgumentType
    create_session(max_per_minute="60")  # arg-type reportArgumentType
    create_session(sample=0.5)  # arg-type reportArgumentType
    create_session(queue_size="many")  # arg-type reportArgumentType
    create_session(bandwidth="20 kB")  # arg-type reportArgumentType
    create_session(on_status="print")  # arg-type reportArgumentType
    create_session(end_on_signals=15)  # arg-type reportArgumentType
    create_session("http://localhost", "editor", "1", "key")  # call-arg reportCallIssue
    DatacatClient(time_out=5)  # call-arg reportCallIssue
    DatacatClient(max_bytes=2.5)  # arg-type reportArgumentType


def hide(kind: str) -> None:
    create_session(before_record=hide)  # arg-type reportArgumentType


def calls(session: Session) -> None:
    session.log_event(1)  # arg-type reportArgumentType
    session.log_event("e", ["no", "dict"])  # arg-type reportArgumentType
    session.log_event("e", "warning")  # arg-type reportArgumentType
    session.log_event("e", stacktrace="line")  # arg-type reportArgumentType
    session.log_event("e", labels="one")  # arg-type reportArgumentType
    session.log_event("e", severity="info")  # call-arg reportCallIssue
    session.log_metric("m", "1")  # arg-type reportArgumentType
    session.log_metric("m")  # call-arg reportCallIssue
    session.log_metric("m", 1, count=2.5)  # arg-type reportArgumentType
    session.log_counter("c", tags="a:b")  # arg-type reportArgumentType
    session.log_histogram("h", 1, buckets=3)  # arg-type reportArgumentType
    session.timer("t", unit="weeks")  # arg-type reportArgumentType
    session.timer("t").count = "many"  # assignment reportAttributeAccessIssue
    session.log_exception("text")  # call-overload reportCallIssue,reportArgumentType
    session.update_state("running")  # arg-type reportArgumentType
    session.flush(timeout="5")  # arg-type reportArgumentType
    session.session_id = "mine"  # misc reportAttributeAccessIssue
    session.send()  # attr-defined reportAttributeAccessIssue


def loops(session: Session) -> None:
    session.add_heartbeat_monitor()  # call-arg reportCallIssue
    watch(session, timeout="5")  # arg-type reportArgumentType
    watch(None, session)  # arg-type reportArgumentType


def stats(session: Session) -> Stats:
    stats = session.stats()
    print(stats["wating"])  # typeddict-item reportGeneralTypeIssues
    print(stats["oldest_age"] + 1)  # operator reportOptionalOperand
    return {"waiting": 1}  # typeddict-item reportReturnType


def client(client: DatacatClient) -> str:
    HeartbeatMonitor(client)  # arg-type reportArgumentType
    AsyncSession()  # call-arg reportCallIssue
    client.log_event("e")  # call-arg reportCallIssue
    client.settings.api_key = "key"  # misc reportAttributeAccessIssue
    return client.get_all_sessions()  # return-value reportReturnType


def names() -> None:
    Session("id")  # arg-type reportArgumentType
    print(datacat.create_sesion)  # attr-defined reportAttributeAccessIssue
    print(datacat.errors, datacat.session)  # - reportAttributeAccessIssue
    print(datacat.checks)  # attr-defined reportAttributeAccessIssue
