"""Promises to a `before_record`: values of its own, and nothing recorded that it has not seen."""

from __future__ import absolute_import, division

import json
import sys
import threading

import pytest
from tools.odd_values import Silent
from tools.redacting import shown_to

from datacat.records import build, exceptions, kinds
from datacat.records.before_record import BeforeRecord
from datacat.records.redaction import Redaction, never_dropped, own_event


class Config(object):
    """An object of the application, whose repr shows a secret."""

    def __repr__(self):
        return "<config with password hunter2>"


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def shown(warnings):
    """Makes a BeforeRecord of a function: shown(function)."""
    return lambda function: BeforeRecord(function, lambda topic, message: warnings.append(message))


def remove_passwords(value):
    if isinstance(value, dict):
        value.pop("password", None)
        for each in value.values():
            remove_passwords(each)
    elif isinstance(value, list):
        value[:] = [each for each in value if each != "hunter2"]
        for each in value:
            remove_passwords(each)


def test_it_may_change_values_at_any_depth_and_the_applications_stay(shown):
    live = {"password": "hunter2", "servers": [{"password": "hunter2", "names": ["a", "hunter2"]}]}
    before = json.dumps(live, sort_keys=True)

    def redact(kind, fields):
        remove_passwords(fields)
        return fields

    told = shown(redact)("state", live)
    assert told == {"servers": [{"names": ["a"]}]}
    assert json.dumps(live, sort_keys=True) == before


def test_it_sees_texts_where_objects_would_become_texts_later(shown):
    seen = []
    told = shown(lambda kind, fields: seen.append(fields) or fields)(
        "event", build.event("e", {"config": Config(), "set": {1}, "key": {Config(): 1}})
    )
    assert seen == [told]
    assert told["data"] == {
        "config": "<config with password hunter2>",
        "set": [1],
        "key": {"<config with password hunter2>": 1},
    }


def test_what_it_returns_may_hold_any_values(shown):
    odd = {"name": "e", "data": {"odd": Silent()}}
    told = shown(lambda kind, fields: dict(fields, **odd))("event", {})
    assert json.loads(build.encode(told).decode("ascii"))["data"] == {
        "odd": "<unprintable Silent>"
    }


class LyingDict(object):
    __class__ = dict


class Unreadable(dict):
    def items(self):
        raise RuntimeError("no")

    __len__ = iteritems = get = __getitem__ = items


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __unicode__ = __str__


def fail(kind, fields):
    raise Unspeakable()


@pytest.mark.parametrize("function", [fail, lambda kind, fields: LyingDict()])
def test_a_record_is_dropped_with_a_warning_if_it_fails_in_whatever_way(shown, warnings, function):
    assert shown(function)("event", {"name": "e"}) is None
    assert len(warnings) == 1 and "is dropped, because" in warnings[0]


def test_an_exit_in_another_thread_than_the_main_one_is_a_failure_like_any_other(shown, warnings):
    """In the main thread a signal handler may have meant it."""
    told = []
    redact = shown(lambda kind, fields: sys.exit(3))
    thread = threading.Thread(target=lambda: told.append(redact("event", {"name": "e"})))
    thread.start()
    thread.join()
    assert told == [None] and len(warnings) == 1 and "SystemExit" in warnings[0]
    with pytest.raises(SystemExit):
        redact("event", {"name": "e"})


# -- what cannot be dropped, and what the library records itself


OPENING = {"product": "p", "version": "1", "hostname": "alice-laptop", "machine_id": "m"}


@pytest.mark.parametrize(
    "returned, expected",
    [
        (None, {"product": "p", "version": "1"}),
        ({}, {"product": "p", "version": "1"}),
        (dict(OPENING, hostname="***"), dict(OPENING, hostname="***")),
        ({"product": u"", "version": 7, "hostname": None}, {"product": "p", "version": "1"}),
        ({"product": "q", "more": "x"}, {"product": "q", "version": "1"}),
        ("text", {"product": "p", "version": "1"}),
        (Unreadable(), {"product": "p", "version": "1"}),
        ({"product": u"q" * 2**21, "version": "1"}, {"product": "q" * 4096, "version": "1"}),
    ],
)
def test_an_open_is_never_dropped_and_says_no_more_than_it_may(shown, returned, expected):
    redact = Redaction(shown(lambda kind, fields: returned))
    assert never_dropped(redact, kinds.OPEN, OPENING) == expected
    assert never_dropped(None, kinds.OPEN, OPENING) == OPENING


def test_an_end_and_a_crash_are_seen_but_never_dropped():
    seen, warnings = [], []

    def broken(kind, fields):
        seen.append((kind, fields))
        raise ValueError("x")

    redact = Redaction(BeforeRecord(broken, lambda topic, words: warnings.append(words)))
    assert never_dropped(redact, kinds.CRASH, {"reason": "r"}) == {"reason": "r"}
    assert never_dropped(redact, kinds.END, {}) == {}
    assert seen == [(kinds.CRASH, {"reason": "r"}), (kinds.END, {})]
    assert all("says only what the server needs" in words for words in warnings)


def test_an_event_of_the_librarys_own_passes_through_it():
    fields = {"name": "session_reopened", "data": {"lost_session_id": "1"}}
    redact = shown_to(lambda kind, fields: dict(fields, data={"kind": kind}))
    body = own_event(redact, fields)
    assert json.loads(body.decode("ascii")) == {
        "name": "session_reopened",
        "data": {"kind": "event"},
    }
    assert own_event(shown_to(lambda *_: None), fields) is None
    assert json.loads(own_event(None, fields).decode("ascii")) == fields


# -- the shape of what it returns


EVENT = {"name": "e", "data": {"password": "secret"}}
METRIC = {"name": "m", "value": 1}


@pytest.mark.parametrize(
    "kind, returned",
    [
        (kinds.EVENT, {"data": {}}),
        (kinds.EVENT, dict(EVENT, name=7)),
        (kinds.EVENT, dict(EVENT, name=u"")),
        (kinds.EVENT, dict(EVENT, data="secret")),
        (kinds.EVENT, dict(EVENT, labels="secret")),
        (kinds.EVENT, dict(EVENT, labels=[1])),
        (kinds.EVENT, dict(EVENT, message=["secret"])),
        (kinds.METRIC, dict(METRIC, value="secret")),
        (kinds.METRIC, dict(METRIC, value=float("nan"))),
        (kinds.METRIC, dict(METRIC, tags=[1])),
        (kinds.METRIC, dict(METRIC, tags="secret")),
        (kinds.METRIC, dict(METRIC, count="secret")),
        (kinds.METRIC, dict(METRIC, metadata=["secret"])),
        (kinds.EXCEPTION, dict(EVENT, stacktrace="secret")),
        (kinds.EXCEPTION, dict(EVENT, source_line="secret")),
        (kinds.EXCEPTION, dict(EVENT, exception_type=["secret"])),
        (kinds.EVENT, "secret"),
        (kinds.EVENT, (EVENT, True)),
    ],
)
def test_a_record_of_a_shape_that_no_server_takes_is_dropped_and_its_values_are_not_shown(
    shown, warnings, kind, returned
):
    """In the outbox it would hold up its session, or become a dead letter."""
    assert shown(lambda *_: returned)(kind, dict(EVENT, value=1)) is None
    assert len(warnings) == 1 and "is dropped" in warnings[0] and "secret" not in warnings[0]


def test_what_no_record_of_its_kind_has_is_left_out(shown, warnings):
    """A time of its own would replace ours, by which a record is found again."""
    odd = {"timestamp": "2020-01-01T00:00:00Z", "Name": "other", "state": {}}
    for kind, fields in (
        (kinds.EVENT, dict(EVENT, message="m", labels=["l"], group="g", category="c")),
        (kinds.METRIC, dict(METRIC, tags=["t"], type="timer", unit="s", count=1, metadata={})),
        (kinds.EXCEPTION, exceptions.exception(ValueError("x"))),
    ):
        assert shown(lambda _, given: dict(given, **odd))(kind, fields) == fields
    state = dict(odd, data=1)
    assert shown(lambda _, given: given)(kinds.STATE, state) == state
    assert warnings == []
