# -*- coding: utf-8 -*-
"""Promises of the comparison with a classic server's session, and of merging states."""

from __future__ import absolute_import, division

import collections
import json

import hypothesis
import pytest
import six
from hypothesis import strategies
from tools.transcripts import session_text, transcript

from datacat.records import build, kinds
from datacat.wire import readback
from datacat.wire.readback import ABSENT, ARRIVED, UNKNOWABLE

Counts = collections.namedtuple("Counts", "events metrics")
STAMP = "2026-01-02T03:04:05.123456Z"
LATE_TAG = "captured_at:" + STAMP


def record(kind, fields):
    return kinds.Record(1, 1, kind, build.encode(fields), 1767323045123456)


def event(name="e", data=None):
    return record(kinds.EVENT, build.event(name, data))


def as_a_server_stores(value):
    """Return a JSON value as a server stores it: float64, lone surrogates replaced."""
    if isinstance(value, dict):
        return dict((key, as_a_server_stores(element)) for key, element in value.items())
    if isinstance(value, list):
        return [as_a_server_stores(element) for element in value]
    if isinstance(value, six.integer_types) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, six.text_type):
        return json.loads(build.encode({"v": value}).decode("ascii"))["v"]
    return value


def arrived_on_classic(sent, answer, delivered, merged):
    """Return what is found of a single record."""
    found = readback.classic_found([sent], answer, delivered, merged)
    assert found.strays == [] and found.in_order
    return ARRIVED if found.arrived else found.after


# -- real answers


def real_writes(operation):
    """Return the bodies of the writes to {id2} that a real classic server accepted."""
    decoder = json.JSONDecoder()
    return [
        decoder.raw_decode(exchange["body"])[0] or {}
        for exchange in transcript("classic")
        if exchange["path"] == "/api/sessions/{id2}/" + operation and exchange["status"] == 200
    ]


def test_each_event_of_a_real_classic_session_is_found_at_its_place():
    answer = json.loads(session_text("classic", "/api/sessions/{id2}"))
    writes = real_writes("events")
    assert len(writes) == len(answer["events"]) == 21
    for place, fields in enumerate(writes):
        if "name" in fields:
            arrived = arrived_on_classic(
                record(kinds.EVENT, fields), answer, Counts(place, 0), None
            )
            assert arrived == ARRIVED, fields


def test_each_metric_of_a_real_classic_session_is_found_at_its_place():
    answer = json.loads(session_text("classic", "/api/sessions/{id2}"))
    writes = real_writes("metrics")
    assert len(writes) == len(answer["metrics"]) == 14
    for place, fields in enumerate(writes):
        if fields.get("value") is not None:
            arrived = arrived_on_classic(
                record(kinds.METRIC, fields), answer, Counts(0, place), None
            )
            assert arrived == ARRIVED, fields


def test_a_record_that_a_real_classic_session_lacks_is_absent():
    answer = json.loads(session_text("classic", "/api/sessions/{id2}"))
    assert arrived_on_classic(event("e"), answer, Counts(21, 14), None) == ABSENT
    metric = record(kinds.METRIC, {"name": "m", "value": 4})
    assert arrived_on_classic(metric, answer, Counts(21, 14), None) == ABSENT


# -- scripted answers


def classic(events=(), metrics=(), state=None):
    return {
        "id": "x",
        "state": {} if state is None else state,
        "events": list(events),
        "metrics": list(metrics),
    }


def arrived_event(data, stored, name="e"):
    answer = classic([{"timestamp": "x", "name": name, "data": stored}])
    return arrived_on_classic(event(name, data), answer, Counts(0, 0), None)


@pytest.mark.parametrize(
    "data, stored",
    [
        ({}, None),
        ({}, {}),
        ({"n": 9007199254740993}, {"n": 9007199254740992}),
        ({"n": 123456789012345678}, {"n": 123456789012345680}),
        ({"n": 1}, {"n": 1.0}),
        ({"n": 10**300}, {"n": 1e300}),
        ({"n": -0.0}, {"n": 0}),
        ({"s": u"\ud800"}, {"s": u"\ufffd"}),
        ({"b": True, "z": None, "l": [1, [2.5]]}, {"b": True, "z": None, "l": [1.0, [2.5]]}),
        ({"k": 1}, {"k": 1, "_captured_at": STAMP}),
        ({}, {"_captured_at": STAMP}),
        ({"_captured_at": 1}, {"_captured_at": 1}),
    ],
)
def test_an_event_that_a_classic_server_stores_as_equal_has_arrived(data, stored):
    assert arrived_event(data, stored) == ARRIVED


@pytest.mark.parametrize(
    "data, stored",
    [
        ({"n": 1}, {"n": True}),
        ({"n": 0}, {"n": False}),
        ({"n": 1}, {"n": 2}),
        ({"n": 1}, {"n": "1"}),
        ({"n": 1}, {}),
        ({}, {"n": 1}),
        ({"n": None}, {}),
        ({"l": [1]}, {"l": [1, 2]}),
        ({"l": [1]}, {"l": {"0": 1}}),
        ({"l": {}}, {"l": []}),
        ({"k": {"_captured_at": 1}}, {"k": {}}),
        ({}, [1]),
        ({}, "x"),
    ],
)
def test_an_event_with_other_content_is_another_writers(data, stored):
    assert arrived_event(data, stored) == UNKNOWABLE


def test_events_are_compared_by_name_too():
    answer = classic([{"name": "f", "data": {}}])
    assert arrived_on_classic(event("e"), answer, Counts(0, 0), None) == UNKNOWABLE


@pytest.mark.parametrize(
    "sent, stored, expected",
    [
        ({"name": "m", "value": 1}, {"name": "m", "value": 1}, ARRIVED),
        ({"name": "m", "value": 1, "tags": []}, {"name": "m", "value": 1}, ARRIVED),
        (
            {"name": "m", "value": 1, "tags": ["a"]},
            {"name": "m", "value": 1, "tags": ["a"]},
            ARRIVED,
        ),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1.0}, ARRIVED),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": [LATE_TAG]}, ARRIVED),
        # Another writer's, or another record's.
        (
            {"name": "m", "value": 1},
            {"name": "m", "value": 1, "tags": ["captured_at:x"]},
            UNKNOWABLE,
        ),
        (
            {"name": "m", "value": 1, "unit": "s"},
            {"name": "m", "value": 1, "tags": ["unit:s"]},
            ARRIVED,
        ),
        (
            {"name": "m", "value": 1, "unit": "s", "tags": ["a"]},
            {"name": "m", "value": 1, "tags": ["a", "unit:s", LATE_TAG]},
            ARRIVED,
        ),
        (
            {"name": "m", "value": 1, "unit": "s"},
            {"name": "m", "value": 1, "tags": ["unit:m"]},
            UNKNOWABLE,
        ),
        ({"name": "m", "value": 1, "unit": "s"}, {"name": "m", "value": 1}, ARRIVED),
        ({"name": "m", "value": 1}, {"name": "m", "value": 2}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "n", "value": 1}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": ["a"]}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": [5]}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": {"a": 1}}, UNKNOWABLE),
        ({"name": "m", "value": 1}, "x", UNKNOWABLE),
    ],
)
def test_metrics_are_compared_by_name_value_and_tags(sent, stored, expected):
    answer = classic(metrics=[stored])
    assert arrived_on_classic(record(kinds.METRIC, sent), answer, Counts(5, 0), None) == expected


@pytest.mark.parametrize(
    "events, delivered, expected",
    [
        (["a", "e"], 1, ARRIVED),
        (["a", "e", "e"], 1, ARRIVED),
        (["a"], 1, ABSENT),
        ([], 0, ABSENT),
        ([], 1, UNKNOWABLE),
        (["e"], 2, UNKNOWABLE),
        (["e", "a"], 1, UNKNOWABLE),
        (["a", "b", "e"], 1, UNKNOWABLE),
    ],
)
def test_only_the_place_after_the_delivered_records_counts(events, delivered, expected):
    answer = classic([{"name": name, "data": {}} for name in events])
    assert arrived_on_classic(event("e"), answer, Counts(delivered, 0), None) == expected


@pytest.mark.parametrize("answer", [{}, {"events": None}, {"events": "x"}, {"events": {"0": 1}}])
def test_an_answer_without_a_list_is_no_evidence(answer):
    assert arrived_on_classic(event("e"), answer, Counts(0, 0), None) == UNKNOWABLE


@pytest.mark.parametrize(
    "merged, update, stored, expected",
    [
        ({}, {"a": 1}, {"a": 1.0}, ARRIVED),
        ({}, {"a": 1}, {}, ABSENT),
        ({"a": {"b": 1}}, {"a": {"c": None}}, {"a": {"b": 1, "c": None}}, ARRIVED),
        ({"a": 1}, {"a": 1}, {"a": 1}, ARRIVED),
        ({"a": 1}, {"a": 2}, {"a": 3}, UNKNOWABLE),
        (None, {"a": 1}, {"a": 1}, UNKNOWABLE),
        ({}, {"a": 1}, None, UNKNOWABLE),
    ],
)
def test_a_state_has_arrived_if_the_server_has_its_result(merged, update, stored, expected):
    answer = {"id": "x", "state": stored}
    assert (
        arrived_on_classic(record(kinds.STATE, update), answer, Counts(0, 0), merged) == expected
    )


@pytest.mark.parametrize("ended_at, expected", [(None, ABSENT), ("2026-01-02T03:04:05Z", ARRIVED)])
def test_a_crash_has_arrived_if_the_session_has_ended(ended_at, expected):
    """These servers are told of a crash by an end."""
    answer = dict(classic(), ended_at=ended_at)
    crash = record(kinds.CRASH, {"reason": "r"})
    assert arrived_on_classic(crash, answer, Counts(0, 0), {}) == expected


@pytest.mark.parametrize("kind", [kinds.OPEN, kinds.END])
def test_a_record_that_a_classic_server_does_not_list_cannot_be_found(kind):
    assert arrived_on_classic(record(kind, {}), classic(), Counts(0, 0), {}) == UNKNOWABLE


json_values = strategies.recursive(
    strategies.one_of(
        strategies.none(),
        strategies.booleans(),
        strategies.text(max_size=3),
        strategies.integers(),
        strategies.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=3),
        strategies.dictionaries(strategies.text(max_size=2), inner, max_size=3),
    ),
    max_leaves=8,
)
json_dicts = strategies.dictionaries(strategies.text(max_size=2), json_values, max_size=4)


@hypothesis.given(json_dicts)
@hypothesis.settings(deadline=None)
def test_every_event_is_recognised_as_a_server_stores_it(data):
    assert arrived_event(data, as_a_server_stores(data)) == ARRIVED


# -- the merge


def updates_taken(name):
    """Yield the updates that a real server merged into {id}, as it stored them."""
    for exchange in transcript(name):
        if exchange["path"] != "/api/sessions/{id}/state" or exchange["status"] != 200:
            continue
        update = json.JSONDecoder().raw_decode(exchange["body"])[0] or {}
        if name == "v1" and isinstance(update.get("state"), dict):
            update = update["state"]
        yield as_a_server_stores(update)


def test_the_merge_is_a_real_v1_server_s_at_each_step():
    history = json.loads(session_text("v1", "/api/sessions/{id}"))["state_history"]
    state, count = {"product": "p", "version": "1"}, 0
    for update in updates_taken("v1"):
        state = readback.merge_state(state, update, null_deletes=True)
        assert state == as_a_server_stores(history[count]["state"]), update
        count += 1
    assert count == len(history) == 15
    final = json.loads(session_text("v1", "/api/sessions/{id}", last=True))["state"]
    assert state == as_a_server_stores(final)


def test_the_merge_is_a_real_classic_server_s():
    state, count = {}, 0
    for update in updates_taken("classic"):
        state = readback.merge_state(state, update, null_deletes=False)
        count += 1
    assert count == 20
    final = json.loads(session_text("classic", "/api/sessions/{id}", last=True))["state"]
    assert state == as_a_server_stores(final)


@pytest.mark.parametrize(
    "state, update, on_classic, on_v1",
    [
        ({"a": 1}, {"a": None}, {"a": None}, {}),
        ({}, {"a": None}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {"b": None}}, {"a": {}}),
        ({"a": 1}, {"a": {"b": None}}, {"a": {"b": None}}, {"a": {"b": None}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": []}, {"a": []}, {"a": []}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_each_rule_of_the_merge(state, update, on_classic, on_v1):
    assert readback.merge_state(state, update, null_deletes=False) == on_classic
    assert readback.merge_state(state, update, null_deletes=True) == on_v1


@hypothesis.given(json_dicts, json_dicts, strategies.booleans())
@hypothesis.settings(deadline=None)
def test_a_merge_changes_neither_argument_and_is_idempotent(state, update, null_deletes):
    before = json.dumps([state, update], sort_keys=True)
    merged = readback.merge_state(state, update, null_deletes)
    if not null_deletes:
        assert readback.merge_state(merged, update, null_deletes) == merged
    assert json.dumps([state, update], sort_keys=True) == before


@pytest.mark.parametrize(
    "stored, expected",
    [
        ({"k": 1}, ARRIVED),  # sent without folding
        ({"k": 1, "_message": "m"}, ARRIVED),
        ({"k": 1, "_message": "m", "_captured_at": STAMP}, ARRIVED),
        ({"k": 1, "_captured_at": STAMP}, ARRIVED),
        ({"k": 1, "_message": "another"}, UNKNOWABLE),
        ({"k": 1, "_captured_at": "2026-01-02T03:04:05Z"}, UNKNOWABLE),
        ({"k": 1, "_message": "m", "more": 1}, UNKNOWABLE),
    ],
)
def test_an_event_is_compared_with_each_form_in_which_it_may_have_been_sent(stored, expected):
    """Late or not, folded or not: the process that sent it may have had other options."""
    one = record(kinds.EVENT, build.event("e", {"k": 1}, message="m"))
    answer = classic(events=[{"name": "e", "data": stored}])
    assert arrived_on_classic(one, answer, Counts(0, 5), None) == expected


def test_a_capture_time_of_the_applications_own_is_content_like_any_other():
    one = event(data={"_captured_at": "mine"})
    for stored, expected in (("mine", ARRIVED), ("theirs", UNKNOWABLE)):
        answer = classic(events=[{"name": "e", "data": {"_captured_at": stored}}])
        assert arrived_on_classic(one, answer, Counts(0, 5), None) == expected
