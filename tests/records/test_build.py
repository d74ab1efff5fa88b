# -*- coding: utf-8 -*-
"""The arguments that a log call accepts, and those that it refuses at once."""

from __future__ import absolute_import, division

import datetime
import decimal
import fractions

import hypothesis
import pytest
import six
from hypothesis import strategies
from tools.odd_values import Longdouble, NumpyScalar, OddFloat, OddInteger, Silent

from datacat.errors import InvalidArgument
from datacat.records import build, kinds

# -- events, metrics, states, opening


def test_an_event_has_a_name_and_data_and_no_time():
    assert build.event("e") == {"name": "e", "data": {}}
    assert build.event(u"e", {"a": 1}) == {"name": "e", "data": {"a": 1}}


def test_an_event_has_the_given_extras():
    assert build.event("e", None, "warning", "g", ("a", u"b"), "m") == {
        "name": "e",
        "data": {},
        "category": "warning",
        "group": "g",
        "labels": ["a", "b"],
        "message": "m",
    }


def test_a_set_of_labels_is_sorted():
    assert build.event("e", labels=set(["b", "a"]))["labels"] == ["a", "b"]


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"name": "e", "data": [1]}, "data"),
        ({"name": "e", "data": "x"}, "data"),
        ({"name": "e", "category": 3}, "category"),
        ({"name": "e", "group": 3}, "group"),
        ({"name": "e", "message": ValueError("x")}, "message"),
        ({"name": "e", "labels": "a"}, "labels"),
        ({"name": "e", "labels": ["a", 1]}, "labels"),
        ({"name": "e", "labels": set(["a", 1])}, "labels"),
    ],
)
def test_an_event_with_the_wrong_types_is_refused_by_the_argument_s_name(arguments, named):
    with pytest.raises(InvalidArgument) as caught:
        build.event(**arguments)
    assert str(caught.value).startswith(named + " must be ")


@pytest.mark.parametrize(
    "value, taken",
    [
        (1, 1),
        (1.5, 1.5),
        (True, 1),
        (OddInteger(7), 7),
        (OddFloat(1.5), 1.5),
        (decimal.Decimal("1.25"), 1.25),
        (fractions.Fraction(1, 4), 0.25),
        (NumpyScalar(1.5), 1.5),
        (NumpyScalar(True), 1),
        (10**308, 10**308),
        (123456789012345678, 123456789012345678),
    ],
)
def test_a_metric_takes_every_finite_real_number(value, taken):
    fields = build.metric("m", value)
    assert fields == {"name": "m", "value": taken}
    assert type(fields["value"]) in six.integer_types + (float,)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "1",
        b"1",
        float("nan"),
        float("inf"),
        -float("inf"),
        10**400,
        1j,
        [1],
        Silent(),
        decimal.Decimal("NaN"),
        decimal.Decimal("sNaN"),
        decimal.Decimal("Infinity"),
        decimal.Decimal("1e999"),
        NumpyScalar([1, 2]),
        NumpyScalar(float("nan")),
        Longdouble(),
        OddFloat("inf"),
        datetime.timedelta(1),
    ],
)
def test_a_metric_refuses_a_value_that_is_not_a_finite_number(value):
    with pytest.raises(InvalidArgument) as caught:
        build.metric("m", value)
    assert str(caught.value).startswith("value must be a finite number, not ")


def test_a_metric_has_the_given_extras():
    fields = build.metric("m", 3, ["a:b"], "timer", "seconds", 4, {"k": [1]})
    assert fields == {
        "name": "m",
        "value": 3,
        "tags": ["a:b"],
        "type": "timer",
        "unit": "seconds",
        "count": 4,
        "metadata": {"k": [1]},
    }


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"tags": "x"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"type": 1}, "type"),
        ({"unit": 1}, "unit"),
        ({"count": 1.5}, "count"),
        ({"count": 2**63}, "count"),
        ({"metadata": [1]}, "metadata"),
    ],
)
def test_a_metric_with_the_wrong_types_is_refused_by_the_argument_s_name(arguments, named):
    with pytest.raises(InvalidArgument) as caught:
        build.metric("m", 1, **arguments)
    assert str(caught.value).startswith(named + " must be ")


def test_a_state_is_the_dict_itself():
    given = {"a": 1}
    assert build.state(given) is given


@pytest.mark.parametrize("given", [None, [], "x", 3])
def test_a_state_that_is_not_a_dict_is_refused(given):
    with pytest.raises(InvalidArgument):
        build.state(given)


def test_an_opening_has_the_given_fields():
    assert build.opening("p", "1") == {"product": "p", "version": "1"}
    assert build.opening("p", "1", "h", "m") == {
        "product": "p",
        "version": "1",
        "hostname": "h",
        "machine_id": "m",
    }


@pytest.mark.parametrize(
    "arguments", [("", "1"), ("p", ""), (1, "1"), ("p", None), ("p", "1", 5), ("p", "1", None, 5)]
)
def test_an_opening_with_the_wrong_types_is_refused(arguments):
    with pytest.raises(InvalidArgument):
        build.opening(*arguments)


def test_a_crash_has_its_reason():
    assert build.crash("killed") == {"reason": "killed"}
    with pytest.raises(InvalidArgument):
        build.crash(None)


def test_a_refusal_shows_the_given_value_shortened():
    with pytest.raises(InvalidArgument) as caught:
        build.state("x" * 10000)
    assert "'xxx" in str(caught.value) and len(str(caught.value)) < 200


def test_a_record_over_the_limit_is_refused_with_both_sizes():
    fields = build.event("big", {"k": "x" * 100})
    size = len(build.encode(fields))
    assert len(build.encode(fields, size)) == size
    with pytest.raises(InvalidArgument) as caught:
        build.encode(fields, size - 1)
    assert str(size) in str(caught.value) and str(size - 1) in str(caught.value)
    assert "big" in str(caught.value)


def test_the_limit_of_a_record_is_a_mebibyte():
    room = build.MAX_BYTES - len(build.encode({"k": ""}))
    assert build.MAX_BYTES == 2**20
    assert len(build.encode({"k": "x" * room})) == 2**20
    with pytest.raises(InvalidArgument):
        build.encode({"k": "x" * (room + 1)})


# -- time


@pytest.mark.parametrize(
    "captured, text",
    [
        (1767323045123456, "2026-01-02T03:04:05.123456Z"),
        (1767323045100000, "2026-01-02T03:04:05.1Z"),
        (1767323045000000, "2026-01-02T03:04:05Z"),
        (1767323045000001, "2026-01-02T03:04:05.000001Z"),
        (1767323045120300, "2026-01-02T03:04:05.1203Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (253402300799 * 10**6, "9999-12-31T23:59:59Z"),
        (10**18, "9999-12-31T23:59:59Z"),
        (-(10**18), "0001-01-01T00:00:00Z"),
    ],
)
def test_a_capture_time_is_written_as_go_writes_it(captured, text):
    assert kinds.rfc3339(captured) == text


@hypothesis.given(strategies.integers(min_value=0, max_value=4102444800 * 10**6))
def test_a_capture_time_can_be_read_back_to_the_microsecond(captured):
    text = kinds.rfc3339(captured)
    pattern = "%Y-%m-%dT%H:%M:%S.%fZ" if "." in text else "%Y-%m-%dT%H:%M:%SZ"
    since = datetime.datetime.strptime(text, pattern) - datetime.datetime(1970, 1, 1)
    assert (since.days * 86400 + since.seconds) * 10**6 + since.microseconds == captured


@pytest.mark.parametrize(
    "tags, expected",
    [
        ({"a": "b"}, ["a:b"]),
        ({u"\xe4": 1, "a": None}, ["a:None", u"\xe4:1"]),
        ({}, []),
        ({"a": Silent()}, ["a:<unprintable Silent>"]),
    ],
)
def test_tags_may_be_a_dict(tags, expected):
    assert build.metric("m", 1, tags=tags)["tags"] == expected


class Gone(object):
    """A proxy whose object is gone, or whose settings cannot be read."""

    @property
    def __class__(self):
        raise ReferenceError("gone")

    def __repr__(self):
        raise RuntimeError("no repr")


class Nameless(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


@pytest.mark.parametrize(
    "make",
    [
        lambda odd: build.event(odd),
        lambda odd: build.event("e", odd),
        lambda odd: build.event("e", category=odd),
        lambda odd: build.event("e", group=odd),
        lambda odd: build.event("e", message=odd),
        lambda odd: build.event("e", labels=odd),
        lambda odd: build.event("e", labels=[odd]),
        lambda odd: build.metric(odd, 1),
        lambda odd: build.metric("m", odd),
        lambda odd: build.metric("m", 1, tags=odd),
        lambda odd: build.metric("m", 1, tags=[odd]),
        lambda odd: build.metric("m", 1, type=odd),
        lambda odd: build.metric("m", 1, unit=odd),
        lambda odd: build.metric("m", 1, count=odd),
        lambda odd: build.metric("m", 1, metadata=odd),
        lambda odd: build.state(odd),
    ],
)
@pytest.mark.parametrize("odd", [Gone, Nameless("Odd", (object,), {})], ids=["gone", "nameless"])
def test_an_argument_that_raises_when_looked_at_is_refused(make, odd):
    with pytest.raises(InvalidArgument):
        make(odd())
