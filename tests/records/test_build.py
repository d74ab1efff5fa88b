# -*- coding: utf-8 -*-
"""The arguments that a log call accepts, and those that it refuses at once."""

from __future__ import absolute_import, division

import collections
import datetime
import decimal
import fractions
import json
import os
import sys

import hypothesis
import pytest
import six
from hypothesis import strategies
from tools.odd_values import Flaky, Longdouble, NumpyScalar, OddFloat, OddInteger, Silent, nested

from datacat.errors import InvalidRecord
from datacat.records import build, exceptions, kinds

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
    with pytest.raises(InvalidRecord) as caught:
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
    with pytest.raises(InvalidRecord) as caught:
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
    with pytest.raises(InvalidRecord) as caught:
        build.metric("m", 1, **arguments)
    assert str(caught.value).startswith(named + " must be ")


def test_a_state_is_the_dict_itself():
    given = {"a": 1}
    assert build.state(given) is given


@pytest.mark.parametrize("given", [None, [], "x", 3])
def test_a_state_that_is_not_a_dict_is_refused(given):
    with pytest.raises(InvalidRecord):
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
    with pytest.raises(InvalidRecord):
        build.opening(*arguments)


def test_a_crash_has_its_reason():
    assert build.crash("killed") == {"reason": "killed"}
    with pytest.raises(InvalidRecord):
        build.crash(None)


def test_a_refusal_shows_the_given_value_shortened():
    with pytest.raises(InvalidRecord) as caught:
        build.state("x" * 10000)
    assert "'xxx" in str(caught.value) and len(str(caught.value)) < 200


def test_a_record_over_the_limit_is_refused_with_both_sizes():
    fields = build.event("big", {"k": "x" * 100})
    size = len(build.encode(fields))
    assert len(build.encode(fields, size)) == size
    with pytest.raises(InvalidRecord) as caught:
        build.encode(fields, size - 1)
    assert str(size) in str(caught.value) and str(size - 1) in str(caught.value)
    assert "big" in str(caught.value)


def test_the_limit_of_a_record_is_a_mebibyte():
    room = build.MAX_BYTES - len(build.encode({"k": ""}))
    assert build.MAX_BYTES == 2**20
    assert len(build.encode({"k": "x" * room})) == 2**20
    with pytest.raises(InvalidRecord):
        build.encode({"k": "x" * (room + 1)})


# -- exceptions


def raised(error):
    try:
        raise error
    except Exception:
        return exceptions.exception()


def test_an_exception_has_type_message_and_traceback():
    fields = raised(ValueError("bad"))
    data = fields["data"]
    assert (data["type"], data["message"]) == ("ValueError", "bad")
    assert data["traceback"].startswith("Traceback (most recent call last):\n")
    assert data["traceback"].endswith("ValueError: bad\n")
    assert (fields["name"], fields["category"]) == ("exception", "error")
    assert fields["message"] == "ValueError: bad"
    assert (fields["exception_type"], fields["exception_msg"]) == ("ValueError", "bad")


def test_an_exception_has_the_place_where_it_was_raised():
    fields = raised(ValueError("bad"))
    assert os.path.basename(fields["source_file"]).startswith("test_build.py")
    assert fields["source_function"] == "raised"
    assert len(fields["stacktrace"]) == 1
    assert "line %d, in raised" % fields["source_line"] in fields["stacktrace"][0]


@pytest.mark.parametrize("form", ["triple", "exception", "current"])
def test_an_exception_is_accepted_in_each_form(form):
    try:
        raise KeyError("k")
    except KeyError as error:
        given = {"triple": sys.exc_info(), "exception": error, "current": True}[form]
        fields = exceptions.exception(given)
    assert fields["data"]["type"] == "KeyError" and fields["data"]["message"] == "'k'"


def test_no_current_exception_is_recorded_as_such():
    fields = exceptions.exception()
    assert fields["data"] == {
        "type": "NoneType",
        "message": "no exception was being handled",
        "traceback": "NoneType: None\n",
    }
    assert fields["stacktrace"] == [] and "source_file" not in fields


@pytest.mark.parametrize(
    "clashing", [[("type", 1), ("extra_type", 2)], [("extra_type", 2), ("type", 1)]]
)
def test_extra_data_is_merged_and_overwrites_nothing(clashing):
    extra = collections.OrderedDict([("context", "c"), (5, 6)] + clashing)
    try:
        raise ValueError("bad")
    except ValueError:
        data = exceptions.exception(extra_data=extra)["data"]
    assert data["context"] == "c" and data["type"] == "ValueError" and data[5] == 6
    assert sorted(data[key] for key in data if "extra_" in str(key)) == [1, 2]


@pytest.mark.parametrize("extra", [[1], "x", Silent(), Flaky(10**6, {"a": 1})])
def test_extra_data_of_any_kind_raises_nothing(extra):
    try:
        raise ValueError("bad")
    except ValueError:
        fields = exceptions.exception(extra_data=extra)
    assert fields["data"]["message"] == "bad" and len(fields["data"]) == 4


@pytest.mark.skipif(six.PY2, reason="Python 2 keeps no causes")
def test_chained_causes_are_kept_with_their_relation():
    try:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise TypeError("second")
        except TypeError as error:
            six.raise_from(ValueError("third"), error)
    except ValueError:
        data = exceptions.exception()["data"]
    assert data["causes"] == [
        {"type": "TypeError", "message": "second", "relation": "cause"},
        {"type": "KeyError", "message": "'first'", "relation": "context"},
    ]
    assert "KeyError: 'first'" in data["traceback"]


@pytest.mark.skipif(six.PY2, reason="Python 2 keeps no causes")
def test_a_suppressed_context_is_not_recorded():
    try:
        try:
            raise KeyError("first")
        except KeyError:
            six.raise_from(ValueError("second"), None)
    except ValueError:
        assert "causes" not in exceptions.exception()["data"]


def test_causes_in_a_circle_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert [cause["message"] for cause in raised(one)["data"]["causes"]] == ["two"]


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __unicode__ = __repr__ = __str__


@pytest.mark.parametrize(
    "error, message",
    [
        (Exception(u"caf\xe9"), u"caf\xe9"),
        (Exception(u"\ud800"), u"\ufffd"),
        (Speechless(), u"<unprintable Speechless>"),
        (Exception(), u""),
    ],
)
def test_any_message_of_an_exception_is_recorded(error, message):
    data = json.loads(exceptions.encode_cut(raised(error)).decode("ascii"))["data"]
    assert data["message"] == message


@pytest.mark.skipif(six.PY3, reason="only Python 2 has bytes in messages")
def test_bytes_in_a_message_are_decoded():
    assert raised(Exception(b"caf\xc3\xa9\xff"))["data"]["message"] == u"caf\xe9\ufffd"


@pytest.mark.parametrize(
    "exc_info",
    [
        (),
        (1, 2, 3),
        "x",
        5,
        (ValueError, None, None),
        (None, ValueError("x"), None),
        (None, None, None),
    ],
)
def test_recording_an_exception_never_raises(exc_info):
    fields = exceptions.exception(exc_info, {"a": 1})
    body = json.loads(exceptions.encode_cut(fields).decode("ascii"))
    assert body["name"] == "exception" and body["data"]["message"]


def recurse(depth):
    return recurse(depth + 1)


def test_a_recursion_error_is_recorded_within_the_limit():
    try:
        recurse(0)
    except RuntimeError:
        fields = exceptions.exception()
    assert fields["source_function"] == "recurse"
    assert len(exceptions.encode_cut(fields)) <= build.MAX_BYTES


@pytest.mark.parametrize(
    "extra",
    [
        {"text": u"\U0001f600" * 10**6},
        {"list": list(range(10**6))},
        dict(("k%d" % number, u"x" * 100) for number in range(20000)),
        {u"k" * 2**21: 1},
        {"a": [[u"x" * 1000] * 100] * 100},
        {"a": nested(60, [u"\u20ac" * 1000] * 2000)},
    ],
    ids=["text", "list", "keys", "key", "wide", "deep"],
)
def test_large_data_is_cut_with_a_marker_and_the_exception_stays(extra):
    try:
        raise ValueError("bad")
    except ValueError:
        body = exceptions.encode_cut(exceptions.exception(extra_data=extra))
    assert len(body) <= build.MAX_BYTES
    fields = json.loads(body.decode("ascii"))
    assert fields["name"] == "exception" and fields["exception_type"] == "ValueError"
    assert fields["data"]["type"] == "ValueError" and fields["data"]["message"] == "bad"
    assert fields["data"]["traceback"].endswith("ValueError: bad\n")
    assert b"characters cut>" in body or b" more>" in body


def test_extra_data_that_cannot_be_cut_small_enough_is_left_out():
    extra = u"x" * 300
    for _ in range(3):
        extra = [extra] * 17
    try:
        raise ValueError("bad")
    except ValueError:
        body = exceptions.encode_cut(exceptions.exception(extra_data={"extra": extra}))
    assert len(body) < 2**16
    fields = json.loads(body.decode("ascii"))
    assert sorted(fields["data"]) == ["message", "traceback", "type"]
    assert fields["exception_type"] == "ValueError"


def test_a_long_message_keeps_its_beginning_and_its_end():
    fields = raised(ValueError(u"begin" + u"x" * 2**21 + u"end"))
    message = json.loads(exceptions.encode_cut(fields).decode("ascii"))["data"]["message"]
    assert message.startswith("beginx") and message.endswith("xend")
    assert "characters cut>" in message


def test_data_that_fits_is_not_cut():
    fields = raised(ValueError("bad"))
    assert exceptions.encode_cut(fields) == build.encode(fields)


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
