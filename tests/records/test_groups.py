"""Exception groups: whatever their members, what can be told of each is, and no more than fits."""

from __future__ import absolute_import, division

import sys
import traceback

import pytest
import six
from tools.calls import calls_of

from datacat.records import exceptions, tracebacks

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Python has exception groups since 3.11"
)

# 100 of the group, 200 of others, and 10 of each of 16 in any case.
MOST_FORMATTED = 460


def group(message, members):
    return six.moves.builtins.ExceptionGroup(message, members)


def deep(frames, error):
    if frames <= 1:
        raise error
    deeper_still(frames - 1, error)


def deeper_still(frames, error):
    if frames <= 1:
        raise error
    deep(frames - 1, error)


@pytest.fixture(autouse=True)
def deeper():
    """Lets tests recurse 10,000 times."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(15000)
    yield
    sys.setrecursionlimit(before)


def raised(error, frames=1):
    try:
        deep(frames, error)
    except BaseException as caught:
        return caught


@pytest.fixture
def formatted(monkeypatch):
    """Counts the frames whose source is read."""
    count = []
    walk = traceback.StackSummary.format_frame_summary

    def format_one(self, frame, **options):
        count.append(frame)
        return walk(self, frame, **options)

    monkeypatch.setattr(traceback.StackSummary, "format_frame_summary", format_one)
    return count


def chained(length):
    error = KeyError("number 0")
    for number in range(1, length):
        cause, error = error, ValueError("number %d" % number)
        error.__cause__ = cause
    return error


def odd_syntax_error():
    error = SyntaxError("bad input")
    error.text, error.lineno = 5, 3
    return error


class Closed(Exception):
    def __getattribute__(self, name):
        raise RuntimeError("closed")


class Causeless(Exception):
    @property
    def __cause__(self):
        raise RuntimeError("no cause")


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "make_odd, name",
    [
        (odd_syntax_error, "SyntaxError: "),
        (lambda: Closed("odd"), "Closed: "),
        (lambda: Causeless("odd"), "Causeless: odd"),
        (lambda: Speechless("odd"), "Speechless: <"),
    ],
)
def test_an_odd_member_costs_nothing_else(make_odd, name):
    members = [make_odd(), ValueError("the other one")]
    data = exceptions.exception(raised(group("two", members)))["data"]
    told = data["traceback"]
    assert "could not be told" not in told and "in deep" in told
    assert "ExceptionGroup: two (2 sub-exceptions)\n  + member 1 of 2:\n" in told
    assert name in told and "  + member 2 of 2:\n  | ValueError: the other one\n" in told
    assert [each["relation"] for each in data["causes"]] == ["member", "member"]


def test_a_group_that_hides_its_members_is_told_with_them():
    class Hiding(six.moves.builtins.ExceptionGroup):
        @property
        def exceptions(self):
            raise RuntimeError("hidden")

    data = exceptions.exception(raised(Hiding("two", [KeyError("a"), ValueError("b")])))["data"]
    assert "could not be told" not in data["traceback"]
    assert "  | KeyError: 'a'\n" in data["traceback"] and "  | ValueError: b" in data["traceback"]
    assert [each["type"] for each in data["causes"]] == ["KeyError", "ValueError"]


def test_groups_in_groups_are_told_one_inside_the_other():
    inner = group("inner", [KeyError("a"), raised(OSError("b"))])
    outer = group("outer", [raised(inner), ValueError("c")])
    outer.add_note("a note")
    told = exceptions.exception(outer)["data"]["traceback"]
    assert "  | ExceptionGroup: inner (2 sub-exceptions)\n  |   + member 1 of 2:\n" in told
    assert "  |   | KeyError: 'a'\n" in told and "  |   | OSError: b\n" in told
    assert "a note\n" in told and told.endswith("  + member 2 of 2:\n  | ValueError: c\n")


def test_the_cause_of_a_group_and_those_of_its_members_are_told():
    error = group("two", [chained(3), chained(2)])
    error.__cause__ = group("before", [OSError("c")])
    told = exceptions.exception(error)["data"]["traceback"]
    assert told.startswith("ExceptionGroup: before (1 sub-exception)\n  + member 1 of 1:\n")
    assert told.count("direct cause") == 4 and told.count("KeyError: 'number 0'") == 2


def test_a_group_raised_10000_frames_deep_keeps_both_ends(formatted):
    fields = exceptions.exception(raised(group("deep", [ValueError("a")]), 10000))
    told = fields["data"]["traceback"]
    assert "in raised" in told and "  <9901 more frames>\n" in told
    assert told.index("in raised") < told.index("more frames") < told.index("ExceptionGroup")
    assert len(formatted) == 100


def test_a_member_with_10000_frames_is_cut(formatted):
    error = group("wide", [raised(ValueError("a"), 10000), raised(KeyError("b"), 10000)])
    told = exceptions.exception(raised(error))["data"]["traceback"]
    assert told.count(" more frames>\n") == 2 and told.count("in raised") == 3
    assert 200 < len(formatted) <= MOST_FORMATTED


def test_a_member_with_900_causes_is_told_in_part_and_so_are_the_others():
    error = group("long", [chained(900), ValueError("the other one")])
    told = exceptions.exception(raised(error))["data"]["traceback"]
    assert "  | <more causes>\n" in told and "  | ValueError: the other one\n" in told
    assert len(told.split("\n")) < 200


def test_of_20000_members_the_first_are_told_and_the_others_counted(formatted):
    members = [ValueError(number) for number in range(20000)]
    members[0] = raised(members[0], 10000)
    data = exceptions.exception(raised(group("many", members)))["data"]
    assert data["traceback"].endswith("  | ValueError: 15\n  + <19984 more members>\n")
    assert len(data["causes"]) == tracebacks.MOST_CAUSES
    assert len(formatted) <= MOST_FORMATTED


def test_telling_20000_members_with_causes_takes_no_more_calls_than_200():
    few, many = (group("many", [raised(chained(3)) for _ in range(n)]) for n in (200, 20000))
    assert calls_of(exceptions.exception, many) <= calls_of(exceptions.exception, few) + 100


def test_no_tree_of_groups_tells_more_than_fits(formatted):
    error = raised(ValueError("leaf"), 300)
    for level in range(30):
        others = [raised(KeyError(level), 300) for _ in range(5)]
        error = raised(group("level %d" % level, others + [error] + others), 300)
        error.__context__ = raised(OSError(level), 300)
    told = exceptions.exception(error)["data"]["traceback"]
    assert told.count("KeyError: ") + told.count("OSError: ") <= tracebacks.MOST_CAUSES
    assert len(formatted) <= MOST_FORMATTED and "more members>" in told


def test_a_member_that_occurs_twice_is_told_once():
    error = ValueError("twice")
    error.__context__ = whole = group("two", [error, error])
    told = exceptions.exception(whole)["data"]["traceback"]
    assert told.count("ValueError: twice\n") == 1 and "member 2 of 2: told above" in told


def test_a_syntax_error_with_causes_shows_its_line_and_only_so_many_of_these():
    error = SyntaxError("bad input", ("file.py", 3, 1, "x = = 1\n"))
    error.__cause__ = chained(900)
    error.add_note("a note")
    told = exceptions.exception(error)["data"]["traceback"]
    assert '  File "file.py", line 3\n    x = = 1\n' in told and "a note\n" in told
    assert told.startswith("<more causes>\n") and told.count("direct cause") == 16
