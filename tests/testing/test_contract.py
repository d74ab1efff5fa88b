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
Kind = collections.namedtuple("Kind", "checks keeps")
SESSIONS = {
    "Session": Kind(checks=True, keeps=True),
    "DisabledSession": Kind(checks=False, keeps=False),
    "RecordingSession": Kind(checks=True, keeps=True),
}


@pytest.fixture
def make(collector, open_session):
    """Makes a session: make(kind, **options)."""

    def make_one(kind, **options):
        if kind == "RecordingSession":
            return RecordingSession(**options)
        return open_session(collector.url, disabled=kind == "DisabledSession", **options)

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
    assert isinstance(session, datacat.Session)
    assert set(public_names(datacat.Session)) <= set(public_names(session))
    assert session.session_id and session.local_id.startswith("local-")
    assert set(session.stats()) == set(make("Session").stats())


@each_kind(checks=True)
def test_its_methods_take_the_same_arguments(make, kind):
    specification = getattr(inspect, "getfullargspec", getattr(inspect, "getargspec", None))
    for name in public_names(datacat.Session):
        ours = getattr(type(make(kind)), name)
        if callable(ours):
            assert specification(ours) == specification(getattr(datacat.Session, name))


@each_kind()
def test_its_calls_return_what_the_seed_says(make, kind):
    with make(kind) as session:
        nothing = [
            session.log_event("e", {"x": 1}, "c", "g", ["l"], "m"),
            session.log_metric("m", 1, ["t"], "gauge", "s", 2, {"k": 1}),
            session.log_exception(extra_data={"x": 1}),
            session.update_state({"a": 1}),
            session.start_heartbeat_monitor(timeout=60),
            session.heartbeat(),
            session.pause_heartbeat_monitoring(),
            session.resume_heartbeat_monitoring(),
            session.stop_heartbeat_monitor(),
            session.pause_sending(),
            session.resume_sending(),
            session.end(timeout=60),
            session.close(timeout=60),
        ]
        assert nothing == [None] * len(nothing)
        assert session.flush(timeout=60) is True
        assert session.is_online in (True, None)
        assert session.set_recording(False, forget=True) is True


MISTAKES = {
    "no name": lambda session: session.log_event(""),
    "a number as name": lambda session: session.log_event(3),
    "data": lambda session: session.log_event("e", [1]),
    "labels": lambda session: session.log_event("e", labels=[1]),
    "a message": lambda session: session.log_event("e", message=1),
    "too much": lambda session: session.log_event("e", {"much": "x" * (1 << 20)}),
    "a text as value": lambda session: session.log_metric("m", "1"),
    "nan": lambda session: session.log_metric("m", float("nan")),
    "a text as tags": lambda session: session.log_metric("m", 1, tags="app:x"),
    "a count": lambda session: session.log_metric("m", 1, count=1.5),
    "a state": lambda session: session.update_state("s"),
    "a monitor": lambda session: session.start_heartbeat_monitor(timeout=0),
    "an interval": lambda session: session.start_heartbeat_monitor(1, check_interval=2),
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
    assert len(ours["events"]) == 3 and len(ours["metrics"]) == 1
    for name in ("product", "version"):
        theirs["state"].pop(name), ours["state"].pop(name, None)
    assert ours["state"] == theirs["state"]


@each_kind(keeps=True)
def test_before_record_sees_and_changes_every_record(make, kind):
    seen = []

    def before_record(kind, fields):
        seen.append(kind)
        if kind == "event":
            fields["data"]["secret"] = "hidden"
        return None if kind == "metric" else fields

    with make(kind, before_record=before_record) as session:
        session.log_event("e", {"secret": "sesame"})
        session.log_metric("m", 1)
        session.update_state({"a": 1})
        session.log_exception(ValueError("v"))
        session.end()
    there = session.get_details(60)
    assert seen == ["open", "event", "metric", "state", "exception", "end"]
    assert [event["data"].get("secret") for event in there["events"]] == ["hidden", None]
    assert not there["metrics"] and there["state"]["a"] == 1


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
    with pytest.raises(datacat.MonitorNotStarted):
        session.heartbeat()


@each_kind()
def test_options_that_cannot_work_are_refused(make, kind):
    with pytest.raises(datacat.InvalidSettings):
        make(kind, before_record=3)
    with pytest.raises(TypeError):
        make(kind, nonsense=3)
