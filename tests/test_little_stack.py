"""Log calls where hardly any stack is left: recorded as elsewhere, or not at all."""

from __future__ import absolute_import, division

import datetime

from tools.depths import at_each_depth
from tools.odd_values import nested
from tools.waiting import PATIENCE

import datacat

# Converted by Python code, so that it takes more stack than what JSON has.
ODD = {"a": {"b": [{"c": datetime.date(2020, 1, 1)}, {"d": set([1])}]}, "deep": nested(60, set())}
AS_TOLD = {"a": {"b": [{"c": "2020-01-01"}, {"d": [1]}]}, "deep": nested(60, [])}


def made_at_each_depth(call, frames):
    """Return the levels at which `call(level)` did not raise, of the last frames."""
    in_vain = at_each_depth(call, frames)
    # Near the limit nothing can be called.
    assert in_vain == list(range(len(in_vain))) and len(in_vain) <= 6, in_vain
    return list(range(frames))[len(in_vain) :]


def made_at_some_depths(call, frames):
    """Do as `made_at_each_depth`, for all of the last 40 frames and for some before those."""
    chosen = [level for level in range(frames) if level < 40 or level % 13 == 0]
    made = made_at_each_depth(lambda n: call(n) if n in chosen else None, frames)
    return [level for level in made if level in chosen]


def test_near_the_recursion_limit_a_record_is_as_elsewhere_or_the_call_raises(
    collector, open_session
):
    """Once: what the call accepts arrives as it is, and what it refuses with an error does not."""
    frames = 300
    session = open_session(collector.url)
    events = made_at_some_depths(
        lambda n: session.log_event("e", {"level": n, "odd": ODD}), frames
    )
    states = made_at_some_depths(lambda n: session.update_state({"k%d" % n: ODD}), frames)
    metrics = made_at_some_depths(lambda n: session.log_metric("m", n, [str(n)]), frames)
    there = session.get_details(PATIENCE)
    told = [(event["name"], event["data"]) for event in there["events"]]
    assert told == [("e", {"level": level, "odd": AS_TOLD}) for level in events]
    kept = dict((name, value) for name, value in there["state"].items() if "k" in name)
    assert kept == dict(("k%d" % level, AS_TOLD) for level in states)
    assert [(each["name"], each["value"]) for each in there["metrics"]] == [
        ("m", level) for level in metrics
    ]


def test_a_first_record_after_close_is_kept_near_the_recursion_limit(collector, open_session):
    """Opening the outbox again takes more stack than any other log call."""
    session = open_session(collector.url)
    kept = []
    for level in range(0, 160, 13):
        session.close()
        at_each_depth(at_level(level, lambda n: kept.append(log_value(session, n, None))), 160)
    kept = [level for level in kept if level is not None]
    there = session.get_details(PATIENCE)
    assert [event["data"]["level"] for event in there["events"]] == kept and len(kept) > 10


def at_level(wanted, call):
    return lambda level: call(level) if level == wanted else None


def log_value(session, level, value):
    """Log an event; return the level, or None if there was no stack."""
    try:
        session.log_event("e", {"level": level, "value": value})
    except RuntimeError:
        return None
    return level


def test_what_is_to_be_hidden_stays_hidden_near_the_recursion_limit(collector, open_session):
    def hide(kind, fields):
        if kind == "event":
            fields["data"]["word"] = "hidden"
        return fields

    session = open_session(collector.url, before_record=hide)
    levels = made_at_each_depth(
        lambda n: session.log_event("e", {"level": n, "word": "sesame", "secret": "sesame"}), 100
    )
    told = [event["data"] for event in session.get_details(PATIENCE)["events"]]
    assert told == [{"level": level, "word": "hidden", "secret": "[redacted]"} for level in levels]


def test_what_a_call_refuses_is_refused_near_the_recursion_limit(collector, open_session):
    session = open_session(collector.url)

    refused = []

    def log(level):
        try:
            session.log_event("e", [level])
        except datacat.InvalidArgument:
            refused.append(level)

    assert made_at_each_depth(log, 60) == refused
    assert session.get_details(PATIENCE)["events"] == []


RUNAWAY = u"""
import datacat
session = datacat.create_session()

def log_exception():
    session.log_exception({"a": 1}, ValueError("x"))

def log_event():
    session.log_event("e", {"a": set([1])})

def update_state():
    session.update_state({"a": 1})

class Shown(object):
    def __init__(self, call):
        self.call = call

    def __repr__(self):
        self.call()
        return repr(self)

def endless(call):
    call()
    endless(call)

for call in (log_exception, log_event, update_state):
    for run in (endless, lambda call: repr(Shown(call))):
        try:
            run(call)
        except RuntimeError:
            print("survived")
"""


def test_logging_in_an_endless_recursion_does_not_kill_the_process(collector, run_program):
    """Never in the way: before Python 3.10 a second overflow after one that was caught did."""
    app = run_program(RUNAWAY, collector.url)
    app.wait()
    assert app.output.count("survived") == 6


def test_a_value_that_recurses_for_ever_is_unprintable_at_any_depth(collector, open_session):
    class Endless(object):
        def __repr__(self):
            return repr(self)

    session = open_session(collector.url)
    levels = []

    def log(level):
        levels.append(log_value(session, level, Endless()))

    for level in range(0, 600, 40):
        at_each_depth(at_level(level, log), 600)
    told = [event["data"]["value"] for event in session.get_details(PATIENCE)["events"]]
    assert told == [u"<unprintable Endless>"] * len([n for n in levels if n is not None])
    assert len(told) > 10


def test_exceptions_near_the_recursion_limit_are_told(collector, open_session):
    """Only in the deepest frames, where nothing can be called, there is no way to tell one."""
    session = open_session(collector.url)
    frames = 60

    def log(level):
        try:
            raise KeyError("deep")
        except KeyError:
            session.log_exception({"level": level})

    # At most the call itself was one too many; Python 3.6 to 3.9 must raise in two frames more.
    assert at_each_depth(log, frames) in ([], [0], [0, 1], [0, 1, 2])
    told = [event["data"] for event in session.get_details()["events"]]
    levels = [data["level"] for data in told]
    assert levels == list(range(frames))[-len(levels) :] and levels[0] <= 4
    assert all(data["message"] == "'deep'" for data in told)
    assert all("KeyError: 'deep'" in data["traceback"] for data in told)
