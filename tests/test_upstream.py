"""Programs for datacat's own newer client run here, by that client's names."""

from __future__ import absolute_import, division

import logging
import os
import sys
import threading

import pytest
from tools import held
from tools.waiting import PATIENCE

import datacat
from datacat import AsyncSession, HeartbeatMonitor, InvalidArgument, notices
from datacat.testing.session import RecordingSession


@pytest.fixture
def session():
    return RecordingSession()


# Arguments by other names


def test_level_is_the_category_unless_there_is_one(session):
    session.log_event("e", level="warning", data={"a": 1})
    session.log_event("e", category="error", level="info")
    assert [event["category"] for event in session.events] == ["warning", "error"]
    assert session.events[0]["data"] == {"a": 1}


def test_metric_type_is_the_type_unless_there_is_one(session):
    session.log_metric("m", 1, tags=["a"], metric_type="timer", count=2, unit="s")
    session.log_metric("m", 1, type="gauge", metric_type="timer")
    assert session.metrics[0] == {
        "name": "m",
        "value": 1,
        "tags": ["a"],
        "type": "timer",
        "count": 2,
        "unit": "s",
    }
    assert session.metrics[1]["type"] == "gauge"


def test_delta_adds_to_a_counter(session):
    for delta in (2, 3):
        session.log_metric("requests", 0, tags=["a"], metric_type="counter", delta=delta)
    session.flush()
    assert session.metrics[-1]["value"] == 5 and session.metrics[-1]["tags"] == ["a"]


def test_an_exception_may_come_first_or_second(session):
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        session.log_exception(sys.exc_info(), {"a": 1})
    try:
        [].pop()
    except IndexError:
        session.log_exception(exc_info=sys.exc_info(), extra_data={"a": 2})
    told = [(each["exception_type"], each["data"]["a"]) for each in session.exceptions]
    assert told == [("ZeroDivisionError", 1), ("IndexError", 2)]


def test_an_event_has_its_stacktrace_on_the_server(any_fresh_collector, open_session):
    with open_session(any_fresh_collector.url) as session:
        session.log_event("e", stacktrace=["first", "second"])
        session.client.log_event(session.session_id, "e", stacktrace=["first", "second"])
        session.client.log_metric(session.session_id, "m", 1, metric_type="timer")
        there = session.get_details(PATIENCE)
    events = [each for each in there["events"] if each["name"] == "e"]
    told = [each.get("stacktrace") or each["data"]["_stacktrace"] for each in events]
    assert told == [["first", "second"]] * 2
    (metric,) = there["metrics"]
    assert metric.get("type") == "timer" or metric["tags"] == ["type:timer"]


def test_before_record_sees_a_stacktrace_and_may_change_it():
    def before_record(kind, fields):
        if kind == "event":
            fields["stacktrace"].append("mine")
        return fields

    session = RecordingSession(before_record=before_record)
    session.log_event("e", stacktrace=("its",))
    assert session.events[0]["stacktrace"] == ["its", "mine"]


@pytest.mark.parametrize(
    "call, meant",
    [
        (lambda session: session.log_event("e", "warning"), "category= or message="),
        (lambda session: session.log_event("e", "warning", "group"), "category= or message="),
        (lambda session: session.log_metric("m", 1, None, "timer", 3), "count="),
        (lambda session: session.log_metric("m", 1, None, "timer", None, "s"), "unit="),
    ],
)
def test_an_argument_in_the_place_of_another_is_told_by_its_keyword(session, call, meant):
    with pytest.raises(InvalidArgument) as caught:
        call(session)
    assert str(caught.value).endswith("was it meant for %s?" % meant)


# Options


def test_options_of_the_daemon_are_accepted_which_the_log_says_once(caplog, monkeypatch, spool):
    monkeypatch.setattr(notices, "_informed", set())
    caplog.set_level(logging.INFO, "datacat")
    for _ in range(2):
        datacat.create_session(
            disabled=True, async_mode=True, queue_size=20000, daemon_port="auto"
        )
    datacat.DatacatClient(daemon_port="8079").close()
    assert [each.levelname for each in caplog.records] == ["INFO", "INFO"]
    said = [each.getMessage().rpartition(": ")[2] for each in caplog.records]
    assert said == ["async_mode=, queue_size=, daemon_port=", "daemon_port="]


# Statistics


def test_what_the_server_refused_counts_as_dropped(session, monkeypatch):
    known = dict(session.stats(), sent=1, dropped=2, dead=3, waiting=4)
    monkeypatch.setattr(session, "stats", lambda: known)
    assert session.get_stats() == {"sent": 1, "dropped": 5, "queued": 4}


# HeartbeatMonitor


def test_a_monitor_is_made_for_a_session_and_started():
    session = RecordingSession()
    monitor = HeartbeatMonitor(session, timeout=10, check_interval=2)
    assert not monitor.is_running()
    monitor.heartbeat()
    assert monitor.start().is_running()
    session.heartbeat()
    session.stop_heartbeat_monitor()
    assert not monitor.is_running()


def test_starting_a_running_monitor_is_no_heartbeat_and_no_new_monitor():
    session = RecordingSession()
    monitor = session.start_heartbeat_monitor()
    watchdog = session._membership.running_watchdog()
    monitor.start()
    assert session._membership.running_watchdog() is watchdog


def test_a_monitor_of_a_client_is_refused_with_what_to_call():
    with pytest.raises(InvalidArgument) as caught:
        HeartbeatMonitor(RecordingSession().client, "an id")
    assert "session.start_heartbeat_monitor()" in str(caught.value)


# AsyncSession


class Held(object):
    """A session of another make, whose calls wait until the test lets them go."""

    def __init__(self):
        self.began = threading.Event()
        self.may_go = threading.Event()
        self.made = []

    def _call(self, *call):
        self.began.set()
        assert self.may_go.wait(PATIENCE)
        self.made.append(call)

    def log_event(self, name, **options):
        self._call(name, options)

    def log_metric(self, name, value):
        self._call(name, value)

    def log_exception(self, exc_info=None, extra_data=None):
        self._call(exc_info[0], extra_data)

    def update_state(self, state):
        raise RuntimeError("no state today")

    def end(self):
        self.made.append("end")
        return {"status": "ok"}


@pytest.fixture
def slow():
    session = Held()
    yield session
    session.may_go.set()


def test_calls_return_while_the_session_is_in_one_and_are_made_in_order(slow):
    queued = AsyncSession(slow)
    queued.log_event("a", data={"x": 1})
    assert slow.began.wait(PATIENCE)
    queued.log_metric("b", 2)
    try:
        raise KeyError("k")
    except KeyError:
        queued.log_exception(extra_data={"y": 1})
    assert queued.get_stats() == {"sent": 0, "dropped": 0, "queued": 3}
    assert queued.flush(timeout=0) is False
    slow.may_go.set()
    assert queued.flush(timeout=PATIENCE) is True
    assert queued.shutdown(timeout=PATIENCE) == {"status": "ok"}
    assert slow.made == [("a", {"data": {"x": 1}}), ("b", 2), (KeyError, {"y": 1}), "end"]
    assert queued.get_stats() == {"sent": 3, "dropped": 0, "queued": 0}


def test_calls_that_find_no_room_are_dropped_and_counted(slow):
    queued = AsyncSession(slow, queue_size=2)
    for number in range(5):
        queued.log_event(str(number))
    slow.may_go.set()
    queued.shutdown(timeout=PATIENCE)
    assert [call[0] for call in slow.made[:-1]] == ["0", "1"]
    assert queued.get_stats() == {"sent": 2, "dropped": 3, "queued": 0}


def test_calls_wait_for_room_if_none_may_be_dropped(slow):
    queued = AsyncSession(slow, queue_size=1, drop_on_full=False)
    queued.log_event("a")
    caller = threading.Thread(target=queued.log_event, args=("b",))
    caller.start()
    assert slow.began.wait(PATIENCE)
    assert queued.get_stats() == {"sent": 0, "dropped": 0, "queued": 1}
    slow.may_go.set()
    caller.join(PATIENCE)
    queued.shutdown(timeout=PATIENCE)
    assert [call[0] for call in slow.made[:-1]] == ["a", "b"]


def test_a_call_that_raises_is_counted_and_told_and_the_next_is_made(slow, caplog):
    slow.may_go.set()
    queued = AsyncSession(slow, queue_size=0)
    queued.update_state({"a": 1})
    queued.log_metric("m", 1, tags=["unknown to this one"])
    queued.log_event("e")
    assert queued.flush(timeout=PATIENCE)
    assert queued.get_stats() == {"sent": 1, "dropped": 2, "queued": 0}
    (said,) = [each.getMessage() for each in caplog.records]
    assert "update_state" in said and "RuntimeError: no state today" in said


def test_calls_after_the_shutdown_are_made_too(slow):
    slow.may_go.set()
    queued = AsyncSession(slow)
    for _ in range(2):
        queued.log_event("e")
        queued.shutdown(timeout=PATIENCE)
    assert slow.made == [("e", {}), "end"] * 2


def test_what_a_session_lacks_its_wrapper_lacks(slow):
    for wrapper in (AsyncSession(slow), AsyncSession(RecordingSession())):
        assert not hasattr(wrapper, "no_such_call") and not hasattr(wrapper, "_membership")


def test_a_session_of_this_library_keeps_a_call_before_it_returns(session):
    asynchronous = AsyncSession(session)
    asynchronous.log_event("e")
    assert asynchronous.session is session and session.assert_logged("e")
    assert {"events", "log_event", "shutdown", "session"} <= set(dir(asynchronous))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_makes_its_own_calls_and_none_of_its_parents(slow):
    queued = AsyncSession(slow)
    queued.log_event("parents")
    assert slow.began.wait(PATIENCE)
    pid = os.fork()
    if pid == 0:
        try:
            slow.may_go.set()
            queued.log_event("childs")
            made = queued.flush(timeout=PATIENCE) and [call[0] for call in slow.made]
            os._exit(0 if made == ["childs"] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert queued.get_stats()["queued"] == 1


# Programs

GAME = u"""
from __future__ import print_function
import sys
from datacat import create_session

session = create_session(
    %r, product="game", version="1.0.0", async_mode=True, queue_size=20000, daemon_port="auto"
)
print(session.session_id)
session.update_state({"player": {"name": "alice", "health": 100}, "level": 1})
monitor = session.start_heartbeat_monitor(timeout=60, check_interval=5)
for frame in range(3):
    session.log_event("frame", data={"frame": frame})
    session.log_event("hit", level="warning", data={"damage": 5})
    session.log_metric("fps", 60.0, tags=["realtime"], metric_type="gauge", unit="fps")
    session.update_state({"player": {"health": 95 - frame}})
    session.heartbeat()
session.log_event(
    "loaded", category="debug", group="assets", labels=["a"], message="all", data={},
    stacktrace=["line 1", "line 2"],
)
try:
    raise ValueError("bad state")
except Exception:
    session.log_exception(exc_info=sys.exc_info(), extra_data={"frame": 3})
assert monitor.is_running()
session.pause_heartbeat_monitoring()
session.resume_heartbeat_monitoring()
monitor.stop()
details = session.get_details(timeout=60)
assert details["active"] and details["state"]["player"] == {"name": "alice", "health": 93}
assert session.flush(timeout=60)
stats = session.get_stats()
assert stats["dropped"] == stats["queued"] == 0 and stats["sent"] > 0
session.shutdown(timeout=60)
print("over")
"""

METRICS = u"""
from datacat import create_session

session = create_session(%r, product="metrics", version="1.0.0")
session.log_gauge("cpu", 45.2, tags=["system"], unit="percent")
for number in range(10):
    session.log_counter("requests", tags=["method:GET"])
session.log_counter("bytes", delta=1024)
session.log_metric("bytes", 0, metric_type="counter", delta=512)
session.log_histogram("latency", 0.05, unit="s", tags=["a"], metadata={"id": 1})
session.log_histogram("frame", 0.016, unit="s", buckets=[1.0 / 60, 1.0 / 30, 1000.0])
session.log_timer("load", 1.5, count=3, tags=["a"], unit="seconds")
with session.timer("queue", unit="milliseconds", tags=["a"]) as timer:
    for _ in range(5):
        timer.count += 1
session.end(timeout=60)
print("over")
"""


def left_by(program, collector):
    """Return what the server has of a program's only session, once it has ended well."""
    assert program.wait(PATIENCE) == 0, program.output
    assert program.output.endswith(u"over\n"), program.output
    (listed,) = collector.sessions()
    return collector.session(listed["id"])


def test_a_game_written_for_the_newer_client_runs_and_all_arrives(fresh_collector, run_program):
    there = left_by(run_program(GAME % fresh_collector.url), fresh_collector)
    frames = ["frame", "hit"] * 3
    assert held.names(there) == frames + ["loaded", "exception"]
    assert [event["category"] for event in there["events"][:2]] == ["info", "warning"]
    assert there["events"][6]["stacktrace"] == ["line 1", "line 2"]
    assert there["events"][7]["data"]["frame"] == 3
    assert [metric["type"] for metric in there["metrics"]] == ["gauge"] * 3
    assert not there["active"]


def test_metrics_written_for_the_newer_client_arrive(fresh_collector, run_program):
    there = left_by(run_program(METRICS % fresh_collector.url), fresh_collector)
    last = dict((metric["name"], metric) for metric in there["metrics"])
    assert sorted(last) == ["bytes", "cpu", "frame", "latency", "load", "queue", "requests"]
    assert last["requests"]["value"] == 10 and last["bytes"]["value"] == 1536
    assert last["queue"]["count"] == 5 and last["load"]["value"] == 1.5
