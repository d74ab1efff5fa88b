# pyright: strict
"""An application whose own code is fully annotated, for type checkers; it runs, too.

Checked by check.py: every line is right, and every call has the type that it is said to have.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import sys
import tkinter
import types
from typing import Any, Literal

from typing_extensions import assert_type

import datacat
from datacat import (
    AsyncSession,
    DatacatClient,
    DatacatError,
    HeartbeatMonitor,
    Session,
    Stats,
    create_session,
)
from datacat.integrations.asyncio import watch as watch_asyncio
from datacat.integrations.tk import watch as watch_tk


def before_record(kind: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    if kind == "event" and fields["name"] == "debug":
        return None
    return fields


def show(status: dict[str, Any]) -> None:
    print(status["online"], status["waiting"], status["dead"])


def sessions() -> list[Session]:
    return [
        create_session(),
        create_session("http://localhost:8080", "editor", "2.1", disabled=True),
        create_session(product="editor", connect_wait=0, deadline=30, window=1),
        create_session(
            base_url=None,
            api_key=os.environ.get("KEY"),
            hostname=None,
            machine_id="m",
            machine="m",
            spool_dir=pathlib.Path("outboxes"),
            durability="power",
            timeout=0.5,
            verify="bundle.pem",
            cert=(pathlib.Path("certificate.pem"), "key.pem"),
            proxies={"https": "http://proxy:3128"},
            trust_env=False,
            stamp_late=False,
            fold_fields=False,
            aggregate_seconds=0.5,
            max_bytes=2**20,
            bandwidth=20000,
            before_record=before_record,
            redact=("pin", "iban"),
            on_status=show,
            recording=False,
            end_on_signals=[signal.SIGTERM, signal.SIGINT],
        ),
        create_session(spool_dir="outboxes", verify=False, cert="both.pem", end_on_signals=(15,)),
        create_session(
            redact=False, before_record=lambda kind, fields: fields if kind == "event" else None
        ),
        create_session(max_per_minute=100, sample={"mouse_moved": 0.01}),
        create_session(max_per_minute={"exception": None, "event": 600}, sample={"debug": 0}),
        create_session(max_per_minute={"exception": 10}),
    ]


def log(session: Session) -> None:
    assert_type(create_session(), Session)
    assert_type(session.client, DatacatClient)
    assert_type(session.session_id, str)
    assert_type(session.local_id, str)
    session.update_state({"window": {"open": ["w1"], "active": None}})
    session.log_event("plain")
    session.log_event("click", {"at": (1, 2.5)}, category="info", labels=["a"])
    session.log_event("click", None, "info", "editor", {"a", "b"}, "clicked")
    numbers: dict[int, float] = {1: 2.5}
    session.log_event("numbers", numbers, labels=("a", "b"))
    session.log_metric("memory", 1024)
    session.log_metric("memory", 1024.5, ["app:editor"], "gauge", "MB", 3, {"a": 1})
    session.log_metric("memory", 1.5, tags={"app": "editor"})
    session.start_heartbeat_monitor()
    assert_type(session.start_heartbeat_monitor(60, check_interval=2.5), HeartbeatMonitor)
    session.heartbeat()
    session.pause_heartbeat_monitoring()
    session.resume_heartbeat_monitoring()
    session.stop_heartbeat_monitor()
    worker = session.add_heartbeat_monitor("worker", 60, check_interval=2.5)
    worker.heartbeat()
    worker.stop()
    session.add_heartbeat_monitor("loop", is_running=lambda: True).stop()
    session.pause_sending()
    session.resume_sending()
    assert_type(session.set_recording(False, forget=True), bool)
    assert_type(session.is_online, bool | None)


def watch_loops(session: Session) -> None:
    loop = asyncio.new_event_loop()
    with watch_asyncio(session, loop) as watched:
        watched.stop()
    watch_asyncio(session, loop, timeout=None).stop()
    loop.close()
    root: tkinter.Tk | None = None
    if root is not None:
        watch_tk(root, session, timeout=2.5).stop()


def measure(session: Session) -> None:
    session.log_gauge("memory", 1.5, {"app": "editor"}, unit="MB")
    session.log_counter("clicks")
    session.log_counter("bytes", 2.5, ["to:disk"])
    session.log_histogram("frame", 0.016, "seconds", buckets=[1 / 60, 1 / 30, float("inf")])
    session.log_histogram("size", 3, tags=("a",), buckets=(1, 2), metadata={"a": 1})
    session.log_timer("load", 1.5, count=3)
    with session.timer("save", unit="ms") as timer:
        timer.count += 1
        assert_type(timer.count, int)

    @session.timer("double")
    def double(number: int) -> int:
        return 2 * number

    @session.timer("fetch", count=1, tags=["a"])
    async def fetch(number: int) -> str:
        return str(number)

    assert_type(double(3), int)
    fetch(3).close()


def as_upstream(url: str) -> None:
    session = create_session(
        url, product="game", version="1", async_mode=True, queue_size=20000, daemon_port="auto"
    )
    session.log_event("frame", level="debug", data={"n": 1}, stacktrace=["line"])
    session.log_metric("fps", 60.0, tags=["a"], metric_type="gauge", unit="fps")
    monitor = HeartbeatMonitor(session, timeout=10).start()
    assert_type(monitor.is_running(), bool)
    monitor.stop()
    assert_type(session.get_stats()["queued"], int)
    with AsyncSession(session, queue_size=100, drop_on_full=False) as wrapper:
        wrapper.log_event("frame", data={"n": 2})
    session.shutdown(timeout=0.5)


def log_exceptions(session: Session) -> None:
    try:
        raise KeyError("no such key")
    except KeyError as error:
        session.log_exception()
        session.log_exception({"context": "sample"})
        session.log_exception(extra_data={"context": "sample"}, exc_info=sys.exc_info())
        session.log_exception(error)
        session.log_exception(error, {"context": "sample"})
        session.log_exception(exc_info=error)
    with session as same:
        assert_type(same, Session)
        same.log_event("inside")


def hook(session: Session) -> None:
    def excepthook(
        kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
    ) -> None:
        session.log_exception(exc_info=(kind, error, trace))

    sys.excepthook = excepthook


def watch(session: Session) -> bool:
    with session.monitor_process(interval=0.5) as monitor:
        monitor.stop()
    session.monitor_process()
    return session.enable_faulthandler()


def tell(stats: Stats) -> str:
    assert_type(stats["waiting"], int)
    assert_type(stats["oldest_age"], "float | None")
    assert_type(stats["last_error"], "str | None")
    assert_type(stats["online"], "bool | None")
    assert_type(stats["dialect"], 'Literal["classic", "v1"] | None')
    total = stats["sent"] + stats["dead"] + stats["dropped"] + stats["merged"]
    total += stats["held_back"]
    return "%d of %d" % (total, total + stats["waiting"])


def generation(stats: Stats) -> Literal["classic", "v1", "unknown"]:
    return stats["dialect"] or "unknown"


def finish(session: Session) -> bool:
    assert_type(session.flush(), bool)
    assert_type(session.get_details(timeout=2.5), "dict[str, Any]")
    print(tell(session.stats()), generation(session.stats()))
    session.end(timeout=0.5)
    session.close()
    return session.flush(5)


def direct(client: DatacatClient) -> str | None:
    assert_type(client.settings.base_url, str)
    assert_type(client.settings.deadline, float)
    try:
        with client as same:
            session_id = same.create_session()
            assert_type(session_id, str)
            same.update_state(session_id, {"status": "running"})
            same.log_event(session_id, "login", {"user": "alice"})
            same.log_metric(session_id, "cpu", 45.2, tags=["app:editor"])
            same.log_exception(session_id, ValueError("bad"), {"context": "sample"})
            assert_type(same.get_session(session_id), "dict[str, Any]")
            assert_type(same.get_all_sessions(), "list[dict[str, Any]]")
            assert_type(same.end_session(session_id), "dict[str, Any]")
    except datacat.NotAuthorized as error:
        return error.words
    except DatacatError as error:
        assert_type(error.status, "int | None")
        return error.message if error.retriable else None
    return None


def main() -> None:
    for session in sessions():
        log(session)
        measure(session)
        log_exceptions(session)
        watch_loops(session)
        finish(session)
        direct(session.client)
    as_upstream("http://localhost:8080")
    hook(create_session())
    print(watch(create_session(environment=True)))
    direct(DatacatClient("http://localhost:8080", product="editor", disabled=True))
    print(datacat.__version__)


if __name__ == "__main__":
    main()
