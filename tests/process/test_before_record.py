"""`before_record` sees every record, the library's own too, and may use the library itself."""

from __future__ import absolute_import, division

import os
import signal
import threading

import pytest
from programs import UNHURRIED, the_one
from tools import held
from tools.waiting import PATIENCE, wait_until

from datacat.process import registry
from datacat.records import kinds


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
    own_collector, run_program
):
    """What the dead process would have hidden, this one must hide."""
    run_program(
        UNHURRIED + u"""
session = datacat.create_session(connect_wait=PATIENCE, before_record=lambda kind, fields: fields)
session.log_event("step", {"number": 1})
assert session.flush(PATIENCE)
os.kill(os.getpid(), signal.SIGKILL)
""",
        own_collector.url,
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
        own_collector.url,
    )
    wait_until(lambda: any(each["crashed"] for each in own_collector.sessions()))
    there = the_one(own_collector, "step")
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
                session._membership.append(kinds.EVENT, b'{"name":"under the lock"}')
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
    assert held.names(session.get_details(PATIENCE)) == ["e"]


def test_the_first_sessions_callable_is_the_one_for_dead_processes(
    collector, open_session, monkeypatch
):
    monkeypatch.setattr(registry, "_redactions", [])
    first = open_session(collector.url, before_record=lambda kind, fields: fields)
    open_session(collector.url, before_record=lambda kind, fields: None)
    assert registry.first_redaction() is first._membership.redact
