# -*- coding: utf-8 -*-
"""Promises about records of exceptions: whatever the exception, what can be told of it is."""

from __future__ import absolute_import, division

import collections
import json
import os
import sys
import traceback

import pytest
import six
from tools.calls import calls_of
from tools.odd_values import METACLASSES_WITHOUT_A_NAME, Flaky, Silent, nested

from datacat.records import build, exceptions


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
    assert os.path.basename(fields["source_file"]).startswith("test_exceptions.py")
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
        {"text": u"\U0001f600" * (3 * 10**5)},
        {"list": list(range(3 * 10**5))},
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


# What is hard to tell


def deep(frames, error):
    if frames == 0:
        raise error
    # Python shortens the traceback of a function that calls itself.
    deeper_still(frames - 1, error)


def deeper_still(frames, error):
    if frames == 0:
        raise error
    deep(frames - 1, error)


@pytest.fixture
def deeper():
    """Lets tests recurse 10,000 times."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(15000)
    yield
    sys.setrecursionlimit(before)


def caught(call, *arguments):
    """Return the exception that a call raises, as `sys.exc_info()` has it."""
    try:
        call(*arguments)
    except BaseException:
        return sys.exc_info()
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize("frames", [98, 99, 100, 101, 10000])
def test_a_long_traceback_keeps_its_ends_and_a_count(frames, deeper):
    if frames > 1000 and sys.version_info < (3, 9):
        frames = 3000  # on the stack of the C code
    fields = exceptions.exception(caught(deep, frames - 2, ValueError("bad")))
    lines = fields["stacktrace"]
    if frames <= 100:
        assert len(lines) == frames and "more frames" not in fields["data"]["traceback"]
    else:
        assert len(lines) == 101 and lines[50] == "<%d more frames>" % (frames - 100)
        assert "  <%d more frames>\n" % (frames - 100) in fields["data"]["traceback"]
    assert "in caught" in lines[0] and "in deep" in lines[-1]
    assert fields["source_function"].startswith("deep")


def test_a_long_traceback_is_walked_once(deeper):
    """Telling 3,000 frames takes as many steps as 3,000 reads of `tb_next`, and no more calls."""
    few, many = (caught(deep, frames, ValueError("bad")) for frames in (500, 3000))
    assert calls_of(exceptions.exception, many) <= calls_of(exceptions.exception, few) + 100


@pytest.mark.skipif(six.PY2, reason="Python 2 keeps no causes")
def test_a_chain_of_900_causes_is_told_in_part():
    error = KeyError("number 0")
    for number in range(1, 900):
        cause, error = error, ValueError("number %d" % number)
        error.__cause__ = cause
    data = exceptions.exception(error)["data"]
    assert data["message"] == "number 899"
    assert [each["message"] for each in data["causes"]] == [
        "number %d" % number for number in range(898, 882, -1)
    ]
    assert data["traceback"].startswith("<more causes>\nValueError: number 883\n\nThe above")
    assert data["traceback"].endswith("ValueError: number 899\n")


def test_the_text_is_pythons_own():
    kind, error, trace = caught(int, "x")
    assert exceptions.exception(error if six.PY3 else (kind, error, trace))["data"][
        "traceback"
    ] == "".join(traceback.format_exception(kind, error, trace))


@pytest.mark.skipif(six.PY2, reason="Python 2 keeps no causes")
@pytest.mark.parametrize("link", ["cause", "context"])
def test_the_text_of_a_cause_is_pythons_own(link):
    error = caught(int, "x")[1]
    setattr(error, "__%s__" % link, json.JSONDecodeError("y", "doc", 0))
    told = exceptions.exception(error)["data"]["traceback"]
    assert told == "".join(traceback.format_exception(type(error), error, error.__traceback__))


def test_a_syntax_error_with_odd_fields_is_told():
    for odd in ((u"name", "line", object(), 5), (None, 10**30, -5, u"x"), ([], {}, (), b"x")):
        error = SyntaxError("bad", odd)
        fields = exceptions.exception(error, {"a": 1})
        assert fields["exception_type"] == "SyntaxError" and fields["data"]["a"] == 1
        assert "SyntaxError: " in fields["data"]["traceback"]


class Leaving(Exception):
    """Its methods call sys.exit()."""

    def __str__(self):
        raise SystemExit(3)

    __repr__ = __unicode__ = __str__

    def __getattribute__(self, name):
        if name in ("__notes__", "exceptions"):
            sys.exit(4)
        return Exception.__getattribute__(self, name)


def test_an_exception_whose_methods_exit_is_told_with_all_else():
    fields = exceptions.exception(caught(deep, 3, Leaving()), {"context": "c", "odd": Leaving()})
    body = json.loads(exceptions.encode_cut(fields).decode("ascii"))
    assert body["data"]["message"] == "<unprintable Leaving>" and body["data"]["context"] == "c"
    assert body["exception_type"] == "Leaving" and body["source_function"] == "deeper_still"
    assert len(body["stacktrace"]) == 5


def test_the_members_of_a_group_are_causes():
    group = ValueError("all failed")
    inner = ValueError("two")
    inner.exceptions = [KeyError("three")]
    group.exceptions = (OSError("one"), inner)
    causes = exceptions.exception(group)["data"]["causes"]
    assert [(each["type"], each["message"], each["relation"]) for each in causes] == [
        (OSError.__name__, "one", "member"),
        ("ValueError", "two", "member"),
        ("KeyError", "'three'", "member"),
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has exception groups since 3.11")
def test_a_group_is_told_as_a_tree():
    group = six.moves.builtins.ExceptionGroup("all failed", [OSError("one"), KeyError("two")])
    data = exceptions.exception(caught(deep, 2, group))["data"]
    assert "OSError: one" in data["traceback"] and "KeyError: 'two'" in data["traceback"]
    assert [each["relation"] for each in data["causes"]] == ["member", "member"]


def test_members_that_are_no_exceptions_are_no_causes():
    error = ValueError("bad")
    error.exceptions = ("one", "two")
    assert "causes" not in exceptions.exception(error)["data"]


# The forms of a call


@pytest.mark.parametrize(
    "arguments",
    [
        lambda error, triple: (error, {"a": 1}),
        lambda error, triple: (triple, {"a": 1}),
        lambda error, triple: ({"a": 1}, error),
        lambda error, triple: ({"a": 1}, triple),
        lambda error, triple: ({"a": 1}, True),
        lambda error, triple: ({"a": 1}, None),
    ],
)
def test_an_exception_may_come_first_or_second(arguments):
    triple = caught(int, "x")
    told, extra = exceptions.sort_out(*arguments(triple[1], triple) + (triple,))
    assert told in (triple, triple[1]) and extra == {"a": 1}
    assert exceptions.is_told(told)


def test_two_exceptions_are_the_first_one():
    first, second = ValueError(), KeyError()
    assert exceptions.sort_out(first, second, None) == (first, None)


def test_nothing_to_tell_is_noticed():
    told, extra = exceptions.sort_out(None, None, (None, None, None))
    assert not exceptions.is_told(told) and extra is None


@pytest.mark.parametrize("meta", METACLASSES_WITHOUT_A_NAME)
def test_an_exception_whose_class_has_no_name_is_an_object(meta):
    error = meta("Odd", (ValueError,), {})("bad")
    fields = exceptions.exception(error, {"a": 1})
    assert fields["exception_type"] == "object" and fields["data"]["a"] == 1
    assert fields["exception_msg"] == "bad"


class BadLoader(object):
    def get_source(self, name):
        raise RuntimeError("no source")


@pytest.mark.parametrize("frames", [3, 300])
def test_frames_whose_source_cannot_be_read_are_told_without_it(frames):
    scope = {"__name__": "odd", "__loader__": BadLoader()}
    source = "def one(n):\n    two(n - 1)\ndef two(n):\n    1 // n\n    one(n - 1)\n"
    six.exec_(compile(source, "<odd>.py", "exec"), scope)
    fields = exceptions.exception(caught(scope["two"], 2 * (frames // 2)), {"a": 1})
    told = fields["data"]["traceback"]
    assert '  File "<odd>.py", line 4, in two\n' in told and "could not" not in told
    assert told.endswith("ZeroDivisionError: " + fields["exception_msg"] + "\n")
    assert fields["data"]["a"] == 1 and len(fields["stacktrace"]) in (4, 101)


def test_what_only_resembles_a_traceback_is_told_as_far_as_it_goes():
    class Resembling(object):
        tb_frame = caught(int, "x")[2].tb_frame
        tb_lineno = 7

        @property
        def tb_next(self):
            raise RuntimeError("no more")

    for trace in (Resembling(), object(), 5):
        fields = exceptions.exception((ValueError, ValueError("bad"), trace), {"a": 1})
        assert fields["data"]["a"] == 1
        assert fields["data"]["traceback"].endswith("ValueError: bad\n")


class Incomparable(type):
    """A metaclass whose classes raise when they are compared."""

    def __eq__(cls, other):
        raise ZeroDivisionError("not to be compared")

    __ne__ = __eq__
    __hash__ = type.__hash__


@pytest.mark.parametrize(
    "call",
    [
        lambda triple: (None, None, triple),
        lambda triple: (triple, {"a": 1}, (None, None, None)),
        lambda triple: (triple[1], {"a": 1}, (None, None, None)),
        lambda triple: ({"a": 1}, triple, (None, None, None)),
    ],
    ids=["handled", "a triple", "an exception", "a triple, second"],
)
def test_an_exception_whose_class_cannot_be_compared_is_told(call):
    triple = caught(deep, 2, Incomparable("Odd", (ValueError,), {})("bad"))
    arguments = call(triple)
    told, extra = exceptions.sort_out(*arguments)
    assert exceptions.is_told(told)
    fields = exceptions.exception(told, {"a": 1} if extra is None else extra)
    assert fields["data"]["type"] == "Odd" and fields["data"]["a"] == 1
    assert fields["data"]["traceback"].endswith("Odd: bad\n")


class Closed(Exception):
    """Raises whenever an attribute is read."""

    def __getattribute__(self, name):
        raise RuntimeError("closed")


def test_an_exception_whose_attributes_raise_keeps_its_frames():
    fields = exceptions.exception(caught(deep, 3, Closed("bad")), {"a": 1})
    data = fields["data"]
    assert data["type"] == "Closed" and data["a"] == 1
    assert "in deeper_still" in data["traceback"] and "could not" not in data["traceback"]
    assert len(fields["stacktrace"]) == 5 and fields["source_function"] == "deeper_still"


def test_a_traceback_is_formatted_once(monkeypatch):
    seen = []
    original = traceback.format_tb
    monkeypatch.setattr(
        traceback, "format_tb", lambda *arguments: seen.append(1) or original(*arguments)
    )
    exceptions.exception(caught(deep, 3, ValueError("bad")))
    assert seen == [1]
