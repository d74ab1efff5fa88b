# -*- coding: utf-8 -*-
"""Whether a record arrived, told from what real and scripted servers hold."""

from __future__ import absolute_import, division

import collections
import io
import json
import os

import hypothesis
import pytest
import six
from hypothesis import strategies

from datacat.records import build, exceptions, kinds
from datacat.wire import readback
from datacat.wire.readback import ABSENT, ARRIVED, UNKNOWABLE

TRANSCRIPTS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "transcripts"
)
Counts = collections.namedtuple("Counts", "events metrics")
CAPTURED = 1767323045123456
STAMP = "2026-01-02T03:04:05.123456Z"


def transcript(name):
    with io.open(os.path.join(TRANSCRIPTS, name + ".json"), encoding="utf-8") as stream:
        return json.load(stream)


def session_text(name, path, last=False):
    """Return what a real server answered to the first or last GET of a session."""
    answers = [
        line["answer"]
        for line in transcript(name)
        if line["method"] == "GET" and line["path"] == path and line["status"] == 200
    ]
    return answers[-1 if last else 0]


def record(kind, fields, captured=CAPTURED):
    return kinds.Record(1, 1, kind, build.encode(fields), captured)


def event(name="e", data=None, captured=CAPTURED):
    return record(kinds.EVENT, build.event(name, data), captured)


def found_in(one, text, size=None):
    """Feed a finder the whole answer, in pieces of `size` bytes, and return its result."""
    finder = readback.V1Finder(one)
    data = text.encode("utf-8")
    size = size or len(data) or 1
    for start in range(0, len(data), size):
        if finder.feed(data[start : start + size]):
            break
    return finder.result()


def as_a_server_holds(value):
    """Return a JSON value as a server with float64 and no lone surrogates has it."""
    if isinstance(value, dict):
        return dict((key, as_a_server_holds(element)) for key, element in value.items())
    if isinstance(value, list):
        return [as_a_server_holds(element) for element in value]
    if isinstance(value, six.integer_types) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, six.text_type):
        return json.loads(build.encode({"v": value}).decode("ascii"))["v"]
    return value


# -- v1, real answers


@pytest.mark.parametrize("size", [1, 7, 64, None])
@pytest.mark.parametrize(
    "one, path, expected",
    [
        (event("t", captured=1767323045123456), "{id2}", ARRIVED),
        (event("t", captured=1767323045100000), "{id2}", ARRIVED),
        (event("t", captured=1767323045100001), "{id2}", ABSENT),
        (event("t", captured=1767323045000000), "{id2}", ABSENT),
        (event("other", captured=1767323045123456), "{id2}", ABSENT),
        (record(kinds.METRIC, {"name": "m", "value": 2}, 1767323045500000), "{id2}", ARRIVED),
        (record(kinds.METRIC, {"name": "n", "value": 2}, 1767323045500000), "{id2}", ABSENT),
        (record(kinds.STATE, {"env": {"x": 1}}, 1767323045123456), "{id}", ARRIVED),
        (record(kinds.STATE, {}, 1767323045000000), "{id}", ARRIVED),
        (record(kinds.STATE, {}, 1767323045123457), "{id}", ABSENT),
        (record(kinds.STATE, {}, 1767323045123456), "{id2}", ABSENT),
        (event("t", captured=1767323045123456), "{id}", ABSENT),
    ],
)
def test_a_record_is_found_in_a_real_v1_session(one, path, expected, size):
    text = session_text("v1", "/api/sessions/" + path)
    assert found_in(one, text, size) == expected


# -- v1, scripted answers


def v1_session(events=(), history=(), metrics=()):
    return {
        "id": "x",
        "state": {"timestamp": STAMP, "name": "e", "u": 1},
        "state_history": [
            collections.OrderedDict([("timestamp", stamp), ("state", state)])
            for stamp, state in history
        ],
        "events": [named(stamp, name) for stamp, name in events],
        "metrics": [named(stamp, name) for stamp, name in metrics],
    }


def named(stamp, name):
    return collections.OrderedDict([("timestamp", stamp), ("name", name), ("data", {"k": STAMP})])


@pytest.mark.parametrize(
    "name",
    [
        u"e",
        u"caf\xe9",
        u"\U0001f600",
        u"a\"b\\c",
        u"<&>",
        u"\n\t\x00",
        u"\u2028",
        u"\\",
        u'","state":{',
        u"x" * 5000,
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_name_is_recognised_however_json_writes_it(name, ascii_only, indent):
    session = v1_session([("2026-01-02T03:04:05Z", name), (STAMP, name)])
    session.pop("state")
    text = json.dumps(session, ensure_ascii=ascii_only, indent=indent)
    assert found_in(event(name), text) == ARRIVED
    assert found_in(event(name), text, 100) == ARRIVED
    assert found_in(event(name + u"x"), text) == ABSENT
    assert found_in(event(name, captured=CAPTURED + 1), text) == ABSENT


def test_a_name_as_go_escapes_it_is_recognised():
    text = '[{"timestamp":"%s","name":"\\u003c\\u0026\\u003e\\u2028"}' % STAMP
    assert found_in(event(u"<&>\u2028"), text) == ARRIVED


def test_a_name_with_what_is_no_text_is_recognised_as_it_was_sent():
    text = u'[{"timestamp":"%s","name":"a\ufffd"}' % STAMP
    assert found_in(event(u"a\ud800"), text) == ARRIVED


@pytest.mark.parametrize(
    "text",
    [
        '[{"created_at":"%s","name":"e"}]',
        '[{"timestamp":"%s","nom":"e"}]',
        '[{"timestamp":"%s","name":7}]',
        '[{"timestamp":"%s"},{"name":"e"}]',
        '[{"timestamp":"%s","name":"e',
        '[{"timestamp":"%s","name":"e\\',
        '[{"timestamp":"%s","name":"\\q"}]',
        '[{"timestamp":"%s","state":{"name":"e"}}]',
        '[{"timestamp\\":"%s","name":"e"}]',
        '[{"timestamp":"%s0","name":"e"}]',
        '{"state":{"timestamp":"%s","name":"e"}}',
        '{"data":{"k":1,"timestamp":"%s","name":"e"}}',
        '"%s"',
        '"%s',
        '%s',
        '',
    ],
)
@pytest.mark.parametrize("size", [1, None])
def test_the_time_elsewhere_is_no_event(text, size):
    whole = text % STAMP if "%" in text else text
    assert found_in(event("e"), whole, size) == ABSENT


def test_a_near_miss_hides_no_record_after_it():
    text = '[{"timestamp":"T","nom":"e"},{"timestamp":"T","name":"f"},{"timestamp":"T","name":"e"}'
    for size in (1, 10, None):
        assert found_in(event("e"), text.replace("T", STAMP), size) == ARRIVED


def test_the_state_with_a_time_of_its_own_is_no_update():
    session = json.dumps(v1_session([(STAMP, "e")]))
    assert found_in(record(kinds.STATE, {"a": 1}), session) == ABSENT
    session = json.dumps(v1_session(history=[(STAMP, {"a": 1})]))
    assert found_in(record(kinds.STATE, {"a": 1}), session) == ARRIVED


def test_an_exception_and_a_metric_are_found_by_their_names():
    fields = exceptions.exception(ValueError("bad"))
    session = json.dumps(v1_session([(STAMP, "exception")]))
    assert found_in(record(kinds.EXCEPTION, fields), session) == ARRIVED
    session = json.dumps(v1_session(metrics=[(STAMP, "m")]))
    assert found_in(record(kinds.METRIC, {"name": "m", "value": 1}), session) == ARRIVED


@pytest.mark.parametrize("kind", [kinds.OPEN, kinds.END, kinds.CRASH])
def test_what_leaves_no_time_on_the_server_cannot_be_found(kind):
    finder = readback.V1Finder(record(kind, {}))
    assert finder.feed(b"{") is True and finder.result() == UNKNOWABLE


def test_reading_stops_where_the_record_is_found():
    finder = readback.V1Finder(event("e"))
    assert finder.feed(b'[{"timestamp":"' + STAMP.encode("ascii") + b'",') is False
    assert finder.feed(b'"name":"e"') is True
    assert finder.feed(b"anything") is True and finder.result() == ARRIVED


def test_memory_stays_within_a_piece_and_a_name():
    finder = readback.V1Finder(event("e"))
    piece = (json.dumps(v1_session([(STAMP, "f"), ("x", "e")])) * 200).encode("ascii")
    for _ in range(50):
        assert finder.feed(piece) is False
        assert len(finder._held) < 512
    assert finder.result() == ABSENT


stamps = strategies.integers(min_value=CAPTURED, max_value=CAPTURED + 3).map(kinds.rfc3339)
names = strategies.sampled_from([u"e", u"f", u"caf\xe9\"", u"\\"])
entries = strategies.lists(strategies.tuples(stamps, names), max_size=5)


@hypothesis.given(entries, entries, stamps, names, strategies.integers(1, 60))
@hypothesis.settings(deadline=None)
def test_a_record_is_found_exactly_where_it_is_however_the_answer_is_cut(
    events, metrics, stamp, name, size
):
    text = json.dumps(v1_session(events, metrics=metrics))
    captured = next(CAPTURED + n for n in range(4) if kinds.rfc3339(CAPTURED + n) == stamp)
    held = (stamp, name) in events + metrics
    assert found_in(event(name, captured=captured), text, size) == (ARRIVED if held else ABSENT)


# -- classic, real answers


def real_writes(operation):
    """Return the bodies of the writes that a real classic server took into {id2}."""
    decoder = json.JSONDecoder()
    return [
        decoder.raw_decode(line["body"])[0] or {}
        for line in transcript("classic")
        if line["path"] == "/api/sessions/{id2}/" + operation and line["status"] == 200
    ]


def test_each_event_of_a_real_classic_session_is_found_at_its_place():
    answer = json.loads(session_text("classic", "/api/sessions/{id2}"))
    writes = real_writes("events")
    assert len(writes) == len(answer["events"]) == 21
    for place, fields in enumerate(writes):
        if "name" in fields:
            arrived = readback.classic_arrived(
                record(kinds.EVENT, fields), answer, Counts(place, 0), None
            )
            assert arrived == ARRIVED, fields


def test_each_metric_of_a_real_classic_session_is_found_at_its_place():
    answer = json.loads(session_text("classic", "/api/sessions/{id2}"))
    writes = real_writes("metrics")
    assert len(writes) == len(answer["metrics"]) == 14
    for place, fields in enumerate(writes):
        if fields.get("value") is not None:
            arrived = readback.classic_arrived(
                record(kinds.METRIC, fields), answer, Counts(0, place), None
            )
            assert arrived == ARRIVED, fields


def test_what_a_real_classic_session_does_not_hold_yet_is_absent():
    answer = json.loads(session_text("classic", "/api/sessions/{id2}"))
    assert readback.classic_arrived(event("e"), answer, Counts(21, 14), None) == ABSENT
    metric = record(kinds.METRIC, {"name": "m", "value": 4})
    assert readback.classic_arrived(metric, answer, Counts(21, 14), None) == ABSENT


# -- classic, scripted answers


def classic(events=(), metrics=(), state=None):
    return {
        "id": "x",
        "state": {} if state is None else state,
        "events": list(events),
        "metrics": list(metrics),
    }


def arrived_event(data, held, name="e"):
    answer = classic([{"timestamp": "x", "name": name, "data": held}])
    return readback.classic_arrived(event(name, data), answer, Counts(0, 0), None)


@pytest.mark.parametrize(
    "data, held",
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
def test_an_event_equal_to_a_classic_server_has_arrived(data, held):
    assert arrived_event(data, held) == ARRIVED


@pytest.mark.parametrize(
    "data, held",
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
def test_an_event_that_differs_is_somebody_s_else(data, held):
    assert arrived_event(data, held) == UNKNOWABLE


def test_events_are_compared_by_name_too():
    answer = classic([{"name": "f", "data": {}}])
    assert readback.classic_arrived(event("e"), answer, Counts(0, 0), None) == UNKNOWABLE


@pytest.mark.parametrize(
    "sent, held, expected",
    [
        ({"name": "m", "value": 1}, {"name": "m", "value": 1}, ARRIVED),
        ({"name": "m", "value": 1, "tags": []}, {"name": "m", "value": 1}, ARRIVED),
        (
            {"name": "m", "value": 1, "tags": ["a"]},
            {"name": "m", "value": 1, "tags": ["a"]},
            ARRIVED,
        ),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1.0}, ARRIVED),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": ["captured_at:x"]}, ARRIVED),
        ({"name": "m", "value": 1, "unit": "s"}, {"name": "m", "value": 1}, ARRIVED),
        ({"name": "m", "value": 1}, {"name": "m", "value": 2}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "n", "value": 1}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": ["a"]}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": [5]}, UNKNOWABLE),
        ({"name": "m", "value": 1}, {"name": "m", "value": 1, "tags": {"a": 1}}, UNKNOWABLE),
        ({"name": "m", "value": 1}, "x", UNKNOWABLE),
    ],
)
def test_metrics_are_compared_by_name_value_and_tags(sent, held, expected):
    answer = classic(metrics=[held])
    assert (
        readback.classic_arrived(record(kinds.METRIC, sent), answer, Counts(5, 0), None)
        == expected
    )


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
def test_the_place_after_what_was_delivered_decides(events, delivered, expected):
    answer = classic([{"name": name, "data": {}} for name in events])
    assert readback.classic_arrived(event("e"), answer, Counts(delivered, 0), None) == expected


@pytest.mark.parametrize("answer", [{}, {"events": None}, {"events": "x"}, {"events": {"0": 1}}])
def test_an_answer_without_a_list_tells_nothing(answer):
    assert readback.classic_arrived(event("e"), answer, Counts(0, 0), None) == UNKNOWABLE


@pytest.mark.parametrize(
    "merged, update, held, expected",
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
def test_a_state_arrived_where_the_server_holds_what_it_would(merged, update, held, expected):
    answer = {"id": "x", "state": held}
    assert (
        readback.classic_arrived(record(kinds.STATE, update), answer, Counts(0, 0), merged)
        == expected
    )


@pytest.mark.parametrize("kind", [kinds.OPEN, kinds.END, kinds.CRASH])
def test_what_a_classic_server_does_not_list_cannot_be_known(kind):
    assert readback.classic_arrived(record(kind, {}), classic(), Counts(0, 0), {}) == UNKNOWABLE


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
def test_every_event_is_recognised_in_what_a_server_makes_of_it(data):
    assert arrived_event(data, as_a_server_holds(data)) == ARRIVED


# -- the merge


def updates_taken(name):
    """Yield the updates that a real server merged into {id}, as it understood them."""
    for line in transcript(name):
        if line["path"] != "/api/sessions/{id}/state" or line["status"] != 200:
            continue
        update = json.JSONDecoder().raw_decode(line["body"])[0] or {}
        if name == "v1" and isinstance(update.get("state"), dict):
            update = update["state"]
        yield as_a_server_holds(update)


def test_the_merge_is_a_real_v1_server_s_at_each_step():
    history = json.loads(session_text("v1", "/api/sessions/{id}"))["state_history"]
    state, count = {"product": "p", "version": "1"}, 0
    for update in updates_taken("v1"):
        state = readback.merge_state(state, update, null_deletes=True)
        assert state == as_a_server_holds(history[count]["state"]), update
        count += 1
    assert count == len(history) == 15
    final = json.loads(session_text("v1", "/api/sessions/{id}", last=True))["state"]
    assert state == as_a_server_holds(final)


def test_the_merge_is_a_real_classic_server_s():
    state, count = {}, 0
    for update in updates_taken("classic"):
        state = readback.merge_state(state, update, null_deletes=False)
        count += 1
    assert count == 20
    final = json.loads(session_text("classic", "/api/sessions/{id}", last=True))["state"]
    assert state == as_a_server_holds(final)


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
def test_a_merge_leaves_both_as_they_were_and_a_state_merged_with_itself_stays(
    state, update, null_deletes
):
    before = json.dumps([state, update], sort_keys=True)
    merged = readback.merge_state(state, update, null_deletes)
    if not null_deletes:
        assert readback.merge_state(merged, update, null_deletes) == merged
    assert json.dumps([state, update], sort_keys=True) == before
