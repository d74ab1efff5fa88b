"""Promises to a `before_record`: values of its own, and nothing recorded that it has not seen."""

from __future__ import absolute_import, division

import json

import pytest
from tools.odd_values import Silent

from datacat.records import build
from datacat.records.redaction import Redaction


class Config(object):
    """An object of the application, whose repr shows a secret."""

    def __repr__(self):
        return "<config with password hunter2>"


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def redaction(warnings):
    """Makes a Redaction of a function: redaction(function)."""
    return lambda function: Redaction(function, lambda topic, message: warnings.append(message))


def remove_passwords(value):
    if isinstance(value, dict):
        value.pop("password", None)
        for each in value.values():
            remove_passwords(each)
    elif isinstance(value, list):
        value[:] = [each for each in value if each != "hunter2"]
        for each in value:
            remove_passwords(each)


def test_it_may_change_values_at_any_depth_and_the_applications_stay(redaction):
    live = {"password": "hunter2", "servers": [{"password": "hunter2", "names": ["a", "hunter2"]}]}
    before = json.dumps(live, sort_keys=True)

    def redact(kind, fields):
        remove_passwords(fields)
        return fields

    told = redaction(redact)("state", live)
    assert told == {"servers": [{"names": ["a"]}]}
    assert json.dumps(live, sort_keys=True) == before


def test_it_sees_texts_where_objects_would_become_texts_later(redaction):
    seen = []
    told = redaction(lambda kind, fields: seen.append(fields) or fields)(
        "event", build.event("e", {"config": Config(), "set": {1}, "key": {Config(): 1}})
    )
    assert seen == [told]
    assert told["data"] == {
        "config": "<config with password hunter2>",
        "set": [1],
        "key": {"<config with password hunter2>": 1},
    }


def test_what_it_returns_may_hold_any_values(redaction):
    told = redaction(lambda kind, fields: dict(fields, data={"odd": Silent()}))("event", {})
    assert json.loads(build.encode(told).decode("ascii"))["data"] == {
        "odd": "<unprintable Silent>"
    }


class LyingDict(object):
    __class__ = dict


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __unicode__ = __str__


def fail(kind, fields):
    raise Unspeakable()


@pytest.mark.parametrize("function", [fail, lambda kind, fields: LyingDict()])
def test_a_record_is_dropped_with_a_warning_if_it_fails_in_whatever_way(
    redaction, warnings, function
):
    assert redaction(function)("event", {"name": "e"}) is None
    assert len(warnings) == 1 and "the record is dropped" in warnings[0]
