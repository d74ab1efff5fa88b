"""Every kind of session keeps the contract of `Session`: a row of SESSIONS for each."""

from __future__ import absolute_import, division

import collections
import datetime
import decimal
import inspect

import pytest

import datacat
from datacat.testing.session import RecordingSession

# checks: whether it refuses what cannot be recorded. keeps: whether `get_details` has the records.
# inherits: whether its class is derived from `Session`.
Kind = collections.namedtuple("Kind", "checks keeps inherits")
SESSIONS = {
    "Session": Kind(checks=True, keeps=True, inherits=True),
    "DisabledSession": Kind(checks=False, keeps=False, inherits=True),
    "RecordingSession": Kind(checks=True, keeps=True, inherits=True),
    "AsyncSession": Kind(checks=True, keeps=True, inherits=False),
    "AsyncSession around another": Kind(checks=False, keeps=True, inherits=False),
}


class Another(object):
    """Has a session's methods, and is none of the library's."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def __dir__(self):
        return dir(self._session)


@pytest.fixture
def make(collector, open_session):
    """Makes a session: make(kind, **options)."""

    def make_one(kind, **options):
        if kind == "RecordingSession":
            return RecordingSession(**options)
        session = open_session(collector.url, disabled=kind == "DisabledSession", **options)
        if kind == "AsyncSession around another":
            return datacat.AsyncSession(Another(session))
        return datacat.AsyncSession(session) if kind == "AsyncSession" else session

    return make_one


def each_kind(**wanted):
    """Parametrize a test with the kinds of sessions that have these marks."""
    kinds = [
        kind
        for kind, marks in sorted(SESSIONS.items())
        if all(getattr(marks, name) is value for name, value in wanted.items())
    ]
    return pytest.mark.parametrize("kind", kinds)


def public_names(session):
    return [name for name in dir(session) if not name.startswith("_")]


def raised_by(call, session):
    """Return the class and the words of what a call raises."""
    with pytest.raises(Exception) as caught:
        call(session)
    return caught.type, str(caught.value)


@each_kind()
def test_it_is_a_session_with_all_its_names(make, kind):
    session = make(kind)
    assert isinstance(session, datacat.Session) is SESSIONS[kind].inherits
    assert set(public_names(datacat.Session)) <= set(public_names(session))
    assert session.session_id and session.local_id.startswith("local-")
    assert set(session.stats()) == set(make("Session").stats())


@each_kind(checks=True)
def test_its_methods_take_the_same_arguments(make, kind):
    specification = getattr(inspect, "getfullargspec", getattr(inspect, "getargspec", None))
    session = make(kind)
    for name in public_names(datacat.Session):
        ours = getattr(session, name)
        if inspect.ismethod(ours):
            assert specification(ours) == specification(getattr(datacat.Session, name))


@each_kind()
def test_its_calls_return_what_the_seed_says(make, kind):
    with make(kind) as session:
        nothing = [
            session.log_event("e", {"x": 1}, "c", "g", ["l"], "m"),
            session.log_metric("m", 1, ["t"], "gauge", "s", 2, {"k": 1}),
            session.log_gauge("g", 1, ["t"], "s"),
            session.log_counter("c", 2, ["t"]),
            session.log_histogram("h", 1, "s", ["t"], [1, 2], {"k": 1}),
            session.log_timer("t", 1, 2, ["t"], "s"),
            session.log_exception(extra_data={"x": 1}),
            session.update_state({"a": 1}),
            session.heartbeat() if session.start_heartbeat_monitor(timeout=60) else "no monitor",
            session.pause_heartbeat_monitoring(),
            session.resume_heartbeat_monitoring(),
            session.stop_heartbeat_monitor(),
            session.add_heartbeat_monitor("loop", timeout=60).heartbeat(),
            session.add_heartbeat_monitor("loop").stop(),
            session.pause_sending(),
            session.resume_sending(),
            session.end(timeout=60),
            session.shutdown(timeout=60),
            session.close(timeout=60),
        ]
        assert nothing == [None] * len(nothing)
        assert session.flush(timeout=60) is True
        assert session.is_online in (True, None)
        assert session.set_recording(False, forget=True) is True


@each_kind()
def test_its_timers_are_contexts_and_decorators(make, kind):
    session = make(kind)
    with session.timer("t", tags=["t"], unit="ms") as timer:
        timer.count += 2
    assert timer.count == 2
    assert session.timer("t", 3)(len)("four") == 4


@each_kind()
def test_its_monitor_tells_whether_it_runs(make, kind):
    session = make(kind)
    runs = kind != "DisabledSession"
    monitor = session.start_heartbeat_monitor(timeout=60, check_interval=5)
    assert isinstance(monitor, datacat.HeartbeatMonitor)
    assert (monitor.timeout, monitor.check_interval) == (60, 5)
    assert monitor.session_id == session.session_id and monitor.client
    assert monitor.is_running() is runs
    monitor.stop()
    assert monitor.is_running() is False
    assert monitor.start() is monitor and monitor.is_running() is runs
    session.end(timeout=60)
    assert monitor.is_running() is False


@each_kind(keeps=True)
def test_its_statistics_count_what_it_was_told(make, kind):
    session = make(kind)
    session.log_event("e")
    session.log_metric("m", 1)
    session.get_details(60)
    counts = session.get_stats()
    assert sorted(counts) == ["dropped", "queued", "sent"]
    assert counts["dropped"] == counts["queued"] == 0 and counts["sent"] >= 2


@each_kind()
def test_a_process_monitor_is_an_object_to_stop(make, kind):
    if kind != "DisabledSession":
        pytest.importorskip("psutil")
    with make(kind).monitor_process(interval=60) as monitor:
        assert monitor.stop() is None


@each_kind()
def test_enabling_faulthandler_tells_whether_it_is(make, kind):
    # Pytest's own is left alone; `-p no:faulthandler` turns it off.
    assert type(make(kind).enable_faulthandler()) is bool


MISTAKES = {
    "no name": lambda session: session.log_event(""),
    "a number as name": lambda session: session.log_event(3),
    "data": lambda session: session.log_event("e", [1]),
    "a text as data": lambda session: session.log_event("e", "warning"),
    "labels": lambda session: session.log_event("e", labels=[1]),
    "a text as stacktrace": lambda session: session.log_event("e", stacktrace="Traceback"),
    "a message": lambda session: session.log_event("e", message=1),
    "too much": lambda session: session.log_event("e", {"much": "x" * (1 << 20)}),
    "a text as value": lambda session: session.log_metric("m", "1"),
    "nan": lambda session: session.log_metric("m", float("nan")),
    "a text as tags": lambda session: session.log_metric("m", 1, tags="app:x"),
    "a count": lambda session: session.log_metric("m", 1, count=1.5),
    "a gauge": lambda session: session.log_gauge("g", None),
    "a negative delta": lambda session: session.log_counter("c", -1),
    "a counter's tags": lambda session: session.log_counter("c", 1, "app:x"),
    "too much to add up": lambda session: session.log_counter("c" * (1 << 20)),
    "a text in a histogram": lambda session: session.log_histogram("h", "1"),
    "no buckets": lambda session: session.log_histogram("h", 1, buckets=[]),
    "a bool as duration": lambda session: session.log_timer("t", True),
    "a timer's unit": lambda session: session.timer("t", unit="weeks"),
    "a timer's count": lambda session: setattr(session.timer("t"), "count", 1.5),
    "a state": lambda session: session.update_state("s"),
    "a monitor": lambda session: session.start_heartbeat_monitor(timeout=0),
    "a measuring interval": lambda session: session.monitor_process(interval=0),
    "an interval": lambda session: session.start_heartbeat_monitor(1, check_interval=2),
    "a monitor's name": lambda session: session.add_heartbeat_monitor(""),
    "no monitor": lambda session: session.heartbeat(),
    "no pause": lambda session: session.pause_heartbeat_monitoring(),
    "consent": lambda session: session.set_recording("yes"),
    "forgetting": lambda session: session.set_recording(False, forget=None),
    "flush": lambda session: session.flush(timeout=-1),
    "details": lambda session: session.get_details(timeout="5"),
    "end": lambda session: session.end(timeout=float("nan")),
    "close": lambda session: session.close(timeout=None),
    "an argument": lambda session: session.log_event("e", nonsense=1),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
@each_kind(checks=True)
def test_it_refuses_mistakes_in_the_same_words(make, kind, mistake):
    call, session = MISTAKES[mistake], make(kind)
    assert raised_by(call, session) == raised_by(call, make("Session"))
    assert session.get_details()["events"] == []
    assert session.get_details()["active"]


class Custom(object):
    def __repr__(self):
        return u"<custom>"


def log_all_sorts(session):
    odd = {
        "date": datetime.date(2020, 2, 2),
        "decimal": decimal.Decimal("1.50"),
        "bytes": b"\xff",
        "set": set("ba"),
        "tuple": (1, None, True),
        "nan": float("nan"),
        "large": 10**400,
        "object": Custom(),
        "lone": u"\ud800",
        3: u"\xe4",
    }
    session.log_event("plain")
    session.log_event("odd", odd, "warning", "g", ["l"], u"m\xe4")
    session.log_metric("m", decimal.Decimal("0.5"), {"b": 1, "a": 2}, "timer", "s", 3, odd)
    session.log_gauge("g", 1, {"a": 1}, "MB")
    session.log_timer("t", 0.5, 2)
    for value in (1, decimal.Decimal("0.5")):
        session.log_counter(u"m\xe4", value, set("ba"))
        session.log_histogram("h", value, "s", buckets=[0.75], metadata={"odd": odd})
    try:
        raise KeyError(u"k\xe4y")
    except KeyError:
        session.log_exception({"type": "mine", "odd": odd})
    session.update_state({"window": {"open": [1, 2], "active": 1}, "gone": 1, "odd": odd})
    session.update_state({"window": {"open": (3,)}, "gone": None, "new": {"null": None}})


def given(records):
    """Return records without what only a server adds: times, and fields that nobody gave."""
    added = {"timestamp": None, "group": "", "labels": None, "message": "", "category": "info"}
    return [
        dict(
            (key, value)
            for key, value in fields.items()
            if key != "timestamp" and (key not in added or value != added[key])
        )
        for fields in records
    ]


@each_kind(keeps=True)
def test_it_keeps_what_a_server_gets(make, kind):
    session, real = make(kind), make("Session")
    log_all_sorts(session)
    log_all_sorts(real)
    ours, theirs = session.get_details(60), real.get_details(60)
    for there in (ours, theirs):
        assert there["events"][2]["data"].pop("exception_id")
    assert given(ours["events"]) == given(theirs["events"])
    assert given(ours["metrics"]) == given(theirs["metrics"])
    assert len(ours["events"]) == 3 and len(ours["metrics"]) == 5
    for name in ("product", "version"):
        theirs["state"].pop(name), ours["state"].pop(name, None)
    assert ours["state"] == theirs["state"]


@each_kind(keeps=True)
def test_before_record_sees_and_changes_every_record(make, kind):
    seen = []

    def before_record(kind, fields):
        seen.append(kind)
        if kind == "event":
            fields["data"]["word"] = "hidden"
        return None if kind == "metric" else fields

    with make(kind, before_record=before_record) as session:
        session.log_event("e", {"word": "sesame"})
        session.log_metric("m", 1)
        session.log_counter("c")
        session.update_state({"a": 1})
        session.log_exception(ValueError("v"))
        session.end()
    there = session.get_details(60)
    assert seen == ["open", "event", "metric", "state", "exception", "metric", "end"]
    assert [event["data"].get("word") for event in there["events"]] == ["hidden", None]
    assert not there["metrics"] and there["state"]["a"] == 1


@each_kind(keeps=True)
def test_what_is_too_much_is_held_back_counted_and_told(make, kind):
    session = make(kind, max_per_minute={"event": 2}, sample={"moved": 0})
    for number in range(70):
        session.log_exception(ValueError(number))
        session.log_metric("m", number)
    for _ in range(5):
        session.log_event("e")
        session.log_event("moved")
    names = [event["name"] for event in session.get_details(60)["events"]]
    assert names == ["exception"] * 60 + ["e"] * 2 + ["datacat_records_held_back"]
    assert session.stats()["held_back"] == 10 + 3 + 5
    assert len(session.get_details(60)["metrics"]) == 70
    session.log_event("moved")
    session.end(timeout=60)
    told = [event["data"]["count"] for event in session.get_details(60)["events"][-2:]]
    assert told == [18, 1]


@each_kind()
def test_it_counts_what_is_held_back(make, kind):
    session = make(kind, max_per_minute=1, sample={"moved": 0})
    session.log_event("moved")
    session.flush(60)
    assert session.stats()["held_back"] == (kind != "DisabledSession")


@each_kind(keeps=True)
def test_leaving_the_block_logs_an_exception_and_ends_it_once(make, kind):
    session = make(kind)
    with pytest.raises(KeyError):
        with session:
            raise KeyError("gone")
    session.end()
    session.log_event("later")
    there = session.get_details(60)
    assert [event["name"] for event in there["events"]] == ["exception", "later"]
    assert not there["active"]


@each_kind(checks=True)
def test_heartbeats_after_the_end_are_accepted(make, kind):
    session = make(kind)
    session.start_heartbeat_monitor()
    session.end()
    session.heartbeat()
    session.stop_heartbeat_monitor()
    session.add_heartbeat_monitor("loop").heartbeat()
    with pytest.raises(datacat.MonitorNotStarted):
        session.heartbeat()


@each_kind()
def test_options_that_cannot_work_are_refused(make, kind):
    with pytest.raises(datacat.InvalidSettings):
        make(kind, before_record=3)
    with pytest.raises(TypeError):
        make(kind, nonsense=3)
