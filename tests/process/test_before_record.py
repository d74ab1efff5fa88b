"""`before_record` sees every record, the library's own too, and may use the library itself."""

from __future__ import absolute_import, division

import json
import os
import signal
import threading

import pytest
from programs import UNHURRIED, the_one, with_event
from tools import held
from tools.waiting import PATIENCE, wait_until

from datacat._compat import monotonic
from datacat.process import recording
from datacat.process.keeper import Keeper
from datacat.records import kinds

NOBODY = "http://127.0.0.1:9"


def test_an_open_is_sent_as_before_record_left_it(any_collector, open_session):
    def before_record(kind, fields):
        return dict(fields, hostname="***", version=None) if kind == "open" else fields

    session = open_session(
        any_collector.url,
        product="editor",
        version="2.1",
        hostname="alice-laptop",
        before_record=before_record,
    )
    state = session.get_details(PATIENCE)["state"]
    assert (state["product"], state["version"]) == ("editor", "2.1")
    assert "alice" not in str(any_collector.session(session.session_id))


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_crash_of_a_dead_process_is_told_as_the_next_process_wants_it(
    fresh_collector, run_program
):
    """What the dead process would have hidden, this one must hide."""
    run_program(
        UNHURRIED + u"""
session = datacat.create_session(connect_wait=PATIENCE, before_record=lambda kind, fields: fields)
session.log_event("step", {"number": 1})
assert session.flush(PATIENCE)
os.kill(os.getpid(), signal.SIGKILL)
""",
        fresh_collector.url,
    ).wait(expect=-signal.SIGKILL)
    run_program(
        UNHURRIED + u"""
def before_record(kind, fields):
    if kind == "crash":
        return {"reason": "hidden"}
    fields.get("data", {}).pop("process", None)
    return fields

session = datacat.create_session(connect_wait=PATIENCE, before_record=before_record)
session.end(PATIENCE)
sys.stdin.readline()
""",
        fresh_collector.url,
    )
    wait_until(lambda: any(each["crashed"] for each in fresh_collector.sessions()))
    there = the_one(fresh_collector, "step")
    report = held.event(there, "session_crash_report")["data"]
    assert "process" not in report and report["reason"] == "abnormal_termination"
    assert held.event(there, "session_crashed_detected")["data"] == {"reason": "hidden"}


def test_before_record_may_log_when_it_is_shown_a_hang(collector, open_session):
    def before_record(kind, fields):
        if fields.get("name") == "application_appears_hung":
            session.log_event("seen", session.stats())
        return fields

    session = open_session(collector.url, before_record=before_record)
    session.start_heartbeat_monitor(timeout=0.2, check_interval=0.1)
    wait_until(lambda: "application_appears_hung" in held.names(session.get_details(PATIENCE)))
    assert "seen" in held.names(session.get_details(PATIENCE))


def test_before_record_may_take_a_lock_under_which_the_application_uses_the_library(
    collector, open_session
):
    """Neither waits for the other for ever, also when losses are reported meanwhile."""
    lock, shown = threading.Lock(), []

    def before_record(kind, fields):
        with lock:
            shown.append(fields.get("name"))
        return fields

    session = open_session(collector.url, before_record=before_record)
    done = threading.Event()

    def application():
        for _ in range(300):
            with lock:
                session._membership.give_up(kinds.EVENT)
                recording.keep(session._membership, kinds.EVENT, b'{"name":"under the lock"}')
                session.stats()
        done.set()

    thread = threading.Thread(target=application)
    thread.daemon = True
    thread.start()
    assert done.wait(PATIENCE), "the application and the library wait for each other"
    wait_until(lambda: not session._membership.place.entry.unreported)
    names = held.names(session.get_details(PATIENCE))
    assert names.count("under the lock") == 300 and "datacat_records_dropped" in shown


class Unhashable(object):
    """A callable that compares equal to others and has no hash."""

    def __eq__(self, other):
        return isinstance(other, Unhashable)

    def __ne__(self, other):
        return not self == other

    __hash__ = None

    def __call__(self, kind, fields):
        return fields


def test_a_callable_without_a_hash_will_do(collector, open_session):
    session = open_session(collector.url, before_record=Unhashable())
    session.log_event("e")
    assert session.flush(PATIENCE)
    session.client.log_event(session.session_id, "direct")
    assert held.names(session.get_details(PATIENCE)) == ["e", "direct"]


# -- dead processes


KILLED = UNHURRIED + u"""
session = datacat.create_session(connect_wait=PATIENCE)
session.log_event("step", {"number": 1})
assert session.flush(PATIENCE)
print("ready")
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""

# Continues the outbox of one of the killed, adopts the other's, and stays.
ADOPTER = UNHURRIED + u"""
def hiding(word):
    def before_record(kind, fields):
        return {"reason": word} if kind == "crash" else fields
    return before_record
%s
sys.stdin.readline()
"""


def leave_two_crashes(fresh_collector, run_program):
    killed = [run_program(KILLED, fresh_collector.url) for _ in range(2)]
    for program in killed:
        # Both have a file before one dies, whose file the other would take.
        wait_until(lambda: "ready" in program.output)  # noqa: B023
    for program in killed:
        program.proceed()
        program.wait(expect=-signal.SIGKILL)


def crashed(collector):
    """Return the killed processes' sessions once the server was told of their crashes."""

    def both():
        sessions = with_event(collector, "step")
        return len(sessions) == 2 and all(each["crashed"] for each in sessions)

    wait_until(both)
    return with_event(collector, "step")


FIRST_GIVEN = {
    "two sessions": u"""
first = datacat.create_session(connect_wait=PATIENCE, before_record=hiding("first"))
second = datacat.create_session(connect_wait=PATIENCE, before_record=hiding("second"))
""",
    "one of another server before them": u"""
other = datacat.create_session(
    "http://127.0.0.1:9", connect_wait=0, before_record=hiding("of another server")
)
first = datacat.create_session(connect_wait=PATIENCE, before_record=hiding("first"))
""",
}


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("sessions", sorted(FIRST_GIVEN))
def test_for_dead_processes_the_callable_of_the_first_session_for_their_server_applies(
    sessions, fresh_collector, run_program
):
    leave_two_crashes(fresh_collector, run_program)
    run_program(ADOPTER % FIRST_GIVEN[sessions], fresh_collector.url)
    for session in crashed(fresh_collector):
        told = held.event(session, "session_crashed_detected")["data"]
        assert told == {"reason": "first"}


def test_the_first_callable_stays_the_first_when_sessions_are_closed_and_log_again(open_session):
    def unchanged(kind, fields):
        return fields

    first, second = [
        offline(open_session, before_record, product="again")
        for before_record in (lambda kind, fields: fields, unchanged)
    ]
    for session in (first, second):
        session.close(0.1)
    wait_until(lambda: not second._membership.place.pipeline.is_here)
    second.log_event("again")
    assert second._membership.place.pipeline.is_here
    assert second._membership.place.pipeline.redact is first._membership.redact


ODD = {
    # It may be called before create_session has returned.
    "logs": u"while 'session' not in globals(): time.sleep(0.01)\n"
    u"        session.log_event('seen', {'kind': kind})",
    "exits": u"sys.exit(3)",
    "raises": u"raise KeyError('name')",
    "returns nonsense": u"return 7",
    "returns a reason of 2 MiB": u"return {'reason': 'x' * 2**21, 'name': 'x', 'data': {}}",
}


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("odd", sorted(ODD))
def test_a_crash_is_told_whatever_before_record_does(odd, fresh_collector, run_program):
    leave_two_crashes(fresh_collector, run_program)
    run_program(
        ADOPTER % (u"""
def before_record(kind, fields):
    if kind == "crash" or "crash" in fields.get("name", ""):
        %s
    return fields
session = datacat.create_session(connect_wait=PATIENCE, before_record=before_record)
""" % ODD[odd]),
        fresh_collector.url,
    )
    crashed(fresh_collector)
    if odd == "logs":
        wait_until(lambda: held.names(the_one(fresh_collector, "seen")) == ["seen"] * 4)


@pytest.mark.skipif(
    not hasattr(os, "register_at_fork"), reason="Python before 3.7 has no hooks for forks"
)
def test_a_fork_under_a_lock_that_before_record_waits_for_is_not_held_up(
    fresh_collector, run_program
):
    """Otherwise the child could use sqlite no more, and would have its records in memory only."""
    leave_two_crashes(fresh_collector, run_program)
    program = run_program(
        ADOPTER % u"""
import threading
lock, shown, crashes = threading.Lock(), threading.Event(), []
def before_record(kind, fields):
    if kind == "crash":
        crashes.append(fields)
        if len(crashes) == 2:
            # That of the adopted outbox; the other one is this process's own by now.
            shown.set()
            with lock:
                pass
    return fields
with lock:
    session = datacat.create_session(connect_wait=PATIENCE, before_record=before_record)
    assert shown.wait(PATIENCE)
    fork.FREEZE_SECONDS = 5.0
    child = os.fork()
    if child == 0:
        os._exit(int(fork.sqlite_is_lost()))
    assert os.waitpid(child, 0)[1] == 0, "the child must not use sqlite"
print("forked")
""",
        fresh_collector.url,
    )
    crashed(fresh_collector)
    wait_until(lambda: "forked" in program.output or program.returncode is not None)
    assert "forked" in program.output


# -- goodbyes


def records_waiting(session):
    """Return (kind, fields) of what waits in a session's outbox, in order."""
    place = session._membership.place
    found, _ = place.pipeline.outbox.disk.store.page(place.entry.number, 0)
    return [(each.kind, json.loads(each.body.decode("ascii"))) for each in found]


@pytest.fixture
def no_keeper(monkeypatch):
    """The keeper, which reports losses within a second, does nothing."""
    monkeypatch.setattr(Keeper, "step", lambda self, now: None)


def lose_one(session):
    session._membership.give_up(kinds.EVENT)


def offline(open_session, before_record, **options):
    return open_session(NOBODY, connect_wait=0, before_record=before_record, **options)


@pytest.mark.parametrize("way", ["end()", "the exit"])
def test_losses_are_reported_before_the_end_as_before_record_left_them(
    way, open_session, no_keeper
):
    seen = []

    def before_record(kind, fields):
        seen.append(kind)
        return dict(fields, message="seen") if kind == "event" else fields

    session = offline(open_session, before_record, product=way)
    lose_one(session)
    if way == "end()":
        session.end(0)
    else:
        session._membership.place.pipeline.say_goodbye(monotonic() + PATIENCE)
    waiting = records_waiting(session)
    assert [kind for kind, _ in waiting] == ["open", "report", "end"]
    assert waiting[1][1]["message"] == "seen" and seen == ["open", "event", "end"]


def test_losses_in_a_file_that_was_closed_are_not_reported_behind_before_records_back(
    open_session, no_keeper
):
    seen = []

    def before_record(kind, fields):
        seen.append(fields.get("name", kind))
        return None if kind == "event" else fields

    session = offline(open_session, before_record, product="closed")
    session._membership.place.pipeline.outbox.report_drops = lambda: None
    lose_one(session)
    session.close(0.1)
    wait_until(lambda: not session._membership.place.pipeline.is_here)
    session.end(0)
    assert [kind for kind, _ in records_waiting(session)] == ["open", "end"]
    session._membership.place.pipeline.outbox.report_drops()
    assert seen == ["open", "end", "datacat_records_dropped"]
    assert [kind for kind, _ in records_waiting(session)] == ["open", "end"]


def test_the_end_of_a_session_that_was_closed_is_shown_once(open_session):
    seen = []
    session = offline(open_session, lambda kind, fields: seen.append(kind) or fields)
    session.close(0.1)
    assert seen == ["open"]
    session.end(0)
    session.end(0)
    session._membership.place.pipeline.say_goodbye(monotonic() + PATIENCE)
    assert seen == ["open", "end"]


@pytest.mark.parametrize("odd", [u"sys.exit(3)", u"return None", u"raise KeyError('name')"])
def test_an_exit_ends_the_session_whatever_before_record_does(odd, fresh_collector, run_program):
    run_program(
        UNHURRIED + u"""
def before_record(kind, fields):
    if kind == "end":
        %s
    return fields
session = datacat.create_session(connect_wait=PATIENCE, before_record=before_record)
session.log_event("first")
""" % odd,
        fresh_collector.url,
    ).wait()
    assert held.is_ended(the_one(fresh_collector))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_exit_of_a_forked_child_shows_no_end_because_it_records_none(
    fresh_collector, run_program
):
    program = run_program(
        UNHURRIED + u"""
def before_record(kind, fields):
    # A line in one piece: the parent warns of its fork meanwhile.
    line = "%s saw %s\\n" % ("parent" if os.getpid() == parent else "child", kind)
    os.write(1, line.encode("ascii"))
    return fields
parent = os.getpid()
session = datacat.create_session(connect_wait=PATIENCE, before_record=before_record)
session.log_event("first")
assert session.flush(PATIENCE)
child = os.fork()
if child == 0:
    session.log_event("in child")
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
        fresh_collector.url,
    )
    program.wait()
    lines = sorted(line for line in program.output.splitlines() if " saw " in line)
    assert lines == ["child saw event", "parent saw end", "parent saw event", "parent saw open"]


def test_a_function_that_fails_at_the_open_is_told_of_once(open_session, caplog):
    def fails_at_opens(kind, fields):
        return fields[u"nothing"] if kind == "open" else fields

    for _ in range(2):
        session = offline(open_session, fails_at_opens, hostname="alice-laptop")
        assert b"alice" not in session._membership.place.entry.opening
    told = [each for each in caplog.messages if "before_record" in each]
    assert len(told) == 1 and "the open says only what the server needs" in told[0]
