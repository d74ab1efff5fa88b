"""Promises of the comparison of many records with a session: their beginning arrived, or not."""

from __future__ import absolute_import, division

import collections
import json

import pytest

from datacat.records import build, kinds
from datacat.wire import dialects, readback, readback_v1
from datacat.wire.readback import ABSENT, UNKNOWABLE, Found

CAPTURED = 1767323045123456
Counts = collections.namedtuple("Counts", "events metrics")
NOTHING = Counts(0, 0)


def record(number, kind, fields):
    return kinds.Record(1, number, kind, build.encode(fields), CAPTURED + number)


def event(number):
    return record(number, kinds.EVENT, build.event("e%d" % number, {"n": number}))


def metric(number):
    return record(number, kinds.METRIC, build.metric("m%d" % number, number))


def state(number, **fields):
    return record(number, kinds.STATE, fields or {"n": number})


def on_classic(records, before=()):
    """Return a classic server's session after records."""
    session = {"id": "1", "state": {}, "events": list(before), "metrics": []}
    for each in records:
        fields = json.loads(each.body.decode("ascii"))
        if each.kind == kinds.STATE:
            session["state"] = readback.merge_state(session["state"], fields, False)
        else:
            session["metrics" if each.kind == kinds.METRIC else "events"].append(fields)
    return session


def on_v1(records):
    """Return a v1 server's answer to the GET of a session after records, bytes."""
    lists = {"events": [], "metrics": [], "state_history": []}
    for each in records:
        fields = json.loads(dialects.V1.send(each, "1").body.decode("ascii"))
        first = [(name, fields.pop(name)) for name in ("timestamp", "name") if name in fields]
        stored = collections.OrderedDict(first + sorted(fields.items()))
        lists[readback.listed_under(each.kind)].append(json.dumps(stored))
    parts = ['"%s":[%s]' % (name, ",".join(bodies)) for name, bodies in sorted(lists.items())]
    return ('{"id":"1","crashed":false,%s}' % ",".join(parts)).encode("ascii")


def found_on_v1(records, answer, size=64):
    finder = readback_v1.V1WindowFinder(records)
    for start in range(0, len(answer), size):
        if finder.feed(answer[start : start + size]):
            break
    return finder.result()


MIXED = [event(1), state(2), metric(3), event(4), state(5, n=7), state(6), metric(7), event(8)]


@pytest.mark.parametrize("count", range(len(MIXED) + 1))
def test_the_beginning_that_arrived_is_found_on_v1(count):
    found = found_on_v1(MIXED, on_v1(MIXED[:count]))
    assert found == Found(count, ABSENT if count < len(MIXED) else None)


@pytest.mark.parametrize("count", range(len(MIXED) + 1))
def test_the_beginning_that_arrived_is_found_on_classic(count):
    """A state right after it is found by the state that results; others by what follows them."""
    found = readback.classic_found(MIXED, on_classic(MIXED[:count]), NOTHING, {})
    assert found == Found(count, ABSENT if count < len(MIXED) else None)


def test_what_was_delivered_before_does_not_count_on_classic():
    before = [{"name": "e1", "data": {"n": 1}}] * 3
    found = readback.classic_found(
        [event(1), event(2)], on_classic([event(1)], before), Counts(3, 0), {}
    )
    assert found[:2] == (1, ABSENT)


def test_a_state_that_was_overwritten_hides_nothing_that_follows_it_on_classic():
    """By another writer, or since the queue was copied."""
    session = on_classic(MIXED[:4])
    session["state"] = {"something": "else"}
    found = readback.classic_found(MIXED, session, NOTHING, {})
    assert found[:2] == (4, UNKNOWABLE)
    session = on_classic(MIXED)
    session["state"] = {"something": "else"}
    assert readback.classic_found(MIXED, session, NOTHING, {})[:2] == (8, None)


def test_an_unknown_state_leaves_only_states_unknowable_on_classic():
    assert readback.classic_found(MIXED, on_classic(MIXED), NOTHING, None)[:2] == (8, None)
    assert readback.classic_found(MIXED, on_classic(MIXED[:1]), NOTHING, None)[:2] == (
        1,
        UNKNOWABLE,
    )


def test_a_later_record_without_an_earlier_one_shows_that_the_order_was_not_kept():
    arrived = [MIXED[0], MIXED[3], MIXED[6]]
    found = found_on_v1(MIXED, on_v1(arrived))
    assert found == Found(1, ABSENT, [3, 6], False)
    assert readback.classic_found(
        [event(1), metric(2), event(3)], on_classic([event(1), event(3)]), NOTHING, {}
    ) == Found(1, UNKNOWABLE, [], True)


@pytest.mark.parametrize("size", [1, 50, 10000])
def test_records_in_another_order_are_noticed_on_v1(size):
    events = [event(number) for number in range(1, 6)]
    assert found_on_v1(events, on_v1(events), size).in_order
    events[1], events[2] = events[2], events[1]
    in_order = sorted(events, key=lambda each: each.number)
    assert found_on_v1(in_order, on_v1(events), size) == Found(5, None, [], False)


def test_records_in_another_order_are_noticed_on_classic():
    events = [event(number) for number in range(1, 6)]
    mixed = [events[0], metric(9)] + events[1:]
    assert readback.classic_order(mixed, on_classic(mixed), NOTHING) is True
    between = on_classic([events[0], event(77)] + mixed[1:])
    assert readback.classic_order(mixed, between, NOTHING) is True
    swapped = on_classic([events[1], events[0], metric(9)] + events[2:])
    assert readback.classic_order(mixed, swapped, NOTHING) is False
    assert readback.classic_order(mixed, on_classic(events[:3]), NOTHING) is None


def test_equal_contents_are_in_order_on_classic():
    same = [record(number, kinds.EVENT, build.event("tick", {})) for number in range(5)]
    assert readback.classic_order(same, on_classic(same), NOTHING) is True
    assert readback.classic_found(same, on_classic(same[:3]), NOTHING, {})[:2] == (3, ABSENT)


def test_a_crash_is_looked_for_alone():
    crash = record(1, kinds.CRASH, {"reason": "r"})
    assert found_on_v1([crash], b'{"id":"1","crashed":true,"state":{}}') == Found(
        1, None, [], True
    )
    assert readback.classic_found([crash], {"ended_at": "x"}, NOTHING, {}) == Found(
        1, None, [], True
    )
