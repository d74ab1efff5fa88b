"""Which records are held back, and what is said of them, on the test's clock."""

from __future__ import absolute_import, division

import sys

import pytest

from datacat.records import exceptions, flood, kinds

PLACE = ("a.py", 12, "f")
RAISED = flood.key_of_exception("ValueError", PLACE)
MOVED = flood.key_of(kinds.EVENT, {"name": "moved"})


def make(shares=(), draw=None, **limits):
    every = dict.fromkeys((kinds.EVENT, kinds.EXCEPTION, kinds.METRIC))
    return flood.Flood(dict(every, **limits), dict(shares), draw)


def kept(limited, key, times, now=0.0):
    """Return how many of some records that are alike are kept."""
    return sum(not limited.holds_back(key, now) for _ in range(times))


def test_of_records_that_are_alike_so_many_are_kept_in_a_minute():
    limited = make(exception=60)
    assert kept(limited, RAISED, 100) == 60
    assert kept(limited, RAISED, 100, now=59.9) == 0
    assert kept(limited, RAISED, 100, now=60.0) == 60
    assert limited.held_back == 180


@pytest.mark.parametrize(
    "other",
    [
        flood.key_of_exception("KeyError", PLACE),
        flood.key_of_exception("ValueError", ("a.py", 13, "f")),
        flood.key_of_exception("ValueError", None),
        flood.key_of(kinds.EVENT, {"name": "ValueError"}),
        flood.key_of(kinds.METRIC, {"name": "ValueError"}),
    ],
)
def test_what_is_not_alike_has_a_limit_of_its_own(other):
    limited = make(exception=1, event=1, metric=1)
    assert kept(limited, RAISED, 2) == 1
    assert kept(limited, other, 2) == 1


def test_events_are_alike_by_name_and_group():
    limited = make(event=1)
    groups = [{"name": "log", "group": group} for group in ("a", "b", "a")]
    held = [limited.holds_back(flood.key_of(kinds.EVENT, fields), 0.0) for fields in groups]
    assert held == [False, False, True]


def test_a_kind_without_a_limit_is_never_held_back():
    assert kept(make(exception=1), MOVED, 1000) == 1000


def test_of_a_name_with_a_share_so_much_is_kept():
    draws = iter([0.0, 0.099, 0.1, 0.5, 0.999] * 2)
    limited = make(shares={"moved": 0.1}, draw=lambda: next(draws))
    metric = flood.key_of(kinds.METRIC, {"name": "moved"})
    assert kept(limited, MOVED, 5) == kept(limited, metric, 5) == 2
    assert kept(limited, flood.key_of(kinds.EVENT, {"name": "other"}), 5) == 5
    assert kept(limited, flood.key_of_exception("moved", None), 5) == 5
    assert limited.held_back == 6


@pytest.mark.parametrize("share, count", [(0.0, 0), (1.0, 10)])
def test_a_share_of_0_keeps_nothing_and_of_1_everything(share, count):
    limited = make(shares={"moved": share}, draw=lambda: 0.0 if not share else 0.9999)
    assert kept(limited, MOVED, 10) == count


def test_what_is_left_after_the_draw_counts_for_the_limit():
    draws = iter([0.9, 0.0] * 5)
    limited = make(shares={"moved": 0.5}, draw=lambda: next(draws), event=3)
    assert kept(limited, MOVED, 10) == 3


def test_what_was_held_back_is_told_once():
    limited = make(exception=1, event=2)
    assert limited.tell(0.0) is None
    kept(limited, RAISED, 4, now=10.0)
    kept(limited, flood.key_of(kinds.EVENT, {"name": "log", "group": "db"}), 3, now=20.0)
    kept(limited, MOVED, 3, now=30.0)
    assert limited.untold_since == 10.0
    fields = limited.tell(70.04)
    assert fields["name"] == "datacat_records_held_back"
    assert fields["data"] == {
        "count": 5,
        "seconds": 60.0,
        "records": [
            {"kind": "exception", "type": "ValueError", "place": "a.py:12 in f", "count": 3},
            {"kind": "event", "name": "log", "group": "db", "count": 1},
            {"kind": "event", "name": "moved", "count": 1},
        ],
    }
    assert limited.untold_since is None and limited.tell(80.0) is None
    assert limited.held_back == 5


def test_the_event_names_the_sorts_with_most_records_and_counts_all():
    many = 3 * flood.MOST_KEYS
    limited = make(shares=(("e%d" % number, 0) for number in range(many)), draw=lambda: 0.5)
    for number in range(many):
        kept(limited, flood.key_of(kinds.EVENT, {"name": "e%d" % number}), 1)
    kept(limited, flood.key_of(kinds.EVENT, {"name": "e7"}), 5)
    data = limited.tell(1.0)["data"]
    assert data["count"] == many + 5 and len(data["records"]) == flood.MOST_NAMED
    assert data["records"][0] == {"kind": "event", "name": "e7", "count": 6}
    assert sum(each["count"] for each in data["records"]) + data["others"] == data["count"]


def test_what_it_remembers_is_bounded_and_what_began_first_is_forgotten_first():
    limited = make(event=1)
    keys = [flood.key_of(kinds.EVENT, {"name": "e%d" % n}) for n in range(flood.MOST_KEYS + 1)]
    assert sum(kept(limited, key, 2) for key in keys) == len(keys)
    assert kept(limited, keys[-1], 1) == 0 and kept(limited, keys[1], 1) == 0
    assert kept(limited, keys[0], 1) == 1
    assert len(limited._minutes) == flood.MOST_KEYS
    long = flood.key_of(kinds.EVENT, {"name": "x" * 100000, "group": "y" * 100000})
    assert len(long.name) + len(long.where) < 1000


def fail(depth):
    if depth:
        fail(depth - 1)
    raise ValueError("deep")


def test_an_exception_is_known_by_its_class_and_the_place_that_raised_it():
    found = set()
    for depth in (0, 3, 300):
        try:
            fail(depth)
        except ValueError:
            found.add(exceptions.name_and_place(sys.exc_info()))
    code = fail.__code__
    assert found == {("ValueError", (code.co_filename, code.co_firstlineno + 3, "fail"))}


@pytest.mark.parametrize("given", [ValueError("v"), (ValueError, ValueError("v"), None)])
def test_an_exception_that_was_never_raised_has_no_place(given):
    assert exceptions.name_and_place(given) == ("ValueError", None)


def test_no_exception_at_all_is_known_as_such():
    assert exceptions.name_and_place((None, None, None)) == ("NoneType", None)
