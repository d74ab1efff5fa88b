# -*- coding: utf-8 -*-
"""Promises of the V1Finder: a record is found exactly where a v1 server's answer has it."""

from __future__ import absolute_import, division

import collections
import json

import hypothesis
import pytest
from hypothesis import strategies
from tools.transcripts import session_text

from datacat.records import build, exceptions, kinds
from datacat.wire import readback_v1
from datacat.wire.readback import ABSENT, ARRIVED, UNKNOWABLE

CAPTURED = 1767323045123456
STAMP = "2026-01-02T03:04:05.123456Z"


def record(kind, fields, captured=CAPTURED):
    return kinds.Record(1, 1, kind, build.encode(fields), captured)


def event(name="e", data=None, captured=CAPTURED):
    return record(kinds.EVENT, build.event(name, data), captured)


def found_in(one, text, size=None):
    """Feed a finder the whole answer in pieces of `size` bytes; return its result."""
    finder = readback_v1.V1Finder(one)
    data = text.encode("utf-8")
    size = size or len(data) or 1
    for start in range(0, len(data), size):
        if finder.feed(data[start : start + size]):
            break
    return finder.result()


# -- real answers


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


# -- scripted answers


def v1_session(events=(), history=(), metrics=()):
    return {
        "id": "x",
        "state": {"timestamp": STAMP, "name": "e", "u": 1},
        "state_history": [
            collections.OrderedDict([("timestamp", stamp), ("state", state)])
            for stamp, state in history
        ],
        "events": [named(stamp, name) for stamp, name in events],
        "metrics": [measured(stamp, name) for stamp, name in metrics],
    }


def named(stamp, name):
    return collections.OrderedDict([("timestamp", stamp), ("name", name), ("data", {"k": STAMP})])


def measured(stamp, name):
    return collections.OrderedDict([("timestamp", stamp), ("name", name), ("value", 1)])


def logged(name="e", captured=CAPTURED):
    """Return a record with the data that events of `v1_session` have."""
    return event(name, {"k": STAMP}, captured)


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
    assert found_in(logged(name), text) == ARRIVED
    assert found_in(logged(name), text, 100) == ARRIVED
    assert found_in(logged(name + u"x"), text) == ABSENT
    assert found_in(logged(name, CAPTURED + 1), text) == ABSENT


def test_a_name_as_go_escapes_it_is_recognised():
    text = '[{"timestamp":"%s","name":"\\u003c\\u0026\\u003e\\u2028"}' % STAMP
    assert found_in(event(u"<&>\u2028"), text) == ARRIVED


def test_a_name_with_a_lone_surrogate_is_recognised_as_servers_replace_it():
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
def test_the_time_in_another_place_is_no_event(text, size):
    whole = text % STAMP if "%" in text else text
    assert found_in(event("e"), whole, size) == ABSENT


def test_a_near_miss_does_not_hide_the_record_after_it():
    text = (
        '[{"timestamp":"T","nom":"e"},{"timestamp":"T","name":"f"},{"timestamp":"T","name":"e"}]'
    )
    for size in (1, 10, None):
        assert found_in(event("e"), text.replace("T", STAMP), size) == ARRIVED


def test_a_state_with_a_timestamp_key_is_no_update():
    session = json.dumps(v1_session([(STAMP, "e")]))
    assert found_in(record(kinds.STATE, {"a": 1}), session) == ABSENT
    session = json.dumps(v1_session(history=[(STAMP, {"a": 1})]))
    assert found_in(record(kinds.STATE, {"a": 1}), session) == ARRIVED


def test_an_exception_and_a_metric_are_found_by_their_names():
    fields = dict(exceptions.exception(ValueError("bad")), data={"k": STAMP})
    session = json.dumps(v1_session([(STAMP, "exception")]))
    assert found_in(record(kinds.EXCEPTION, fields), session) == ARRIVED
    session = json.dumps(v1_session(metrics=[(STAMP, "m")]))
    assert found_in(record(kinds.METRIC, {"name": "m", "value": 1}), session) == ARRIVED


@pytest.mark.parametrize("kind", [kinds.OPEN, kinds.END, kinds.CRASH])
def test_a_record_whose_time_the_server_drops_cannot_be_found(kind):
    finder = readback_v1.V1Finder(record(kind, {}))
    assert finder.feed(b"{") is True and finder.result() == UNKNOWABLE


def test_reading_stops_once_the_record_is_found():
    finder = readback_v1.V1Finder(event("e"))
    assert finder.feed(b'[{"timestamp":"' + STAMP.encode("ascii") + b'",') is False
    assert finder.feed(b'"name":"e"') is False
    assert finder.feed(b',"data":null}') is True
    assert finder.feed(b"anything") is True and finder.result() == ARRIVED


def test_no_more_than_a_name_is_kept_between_pieces():
    finder = readback_v1.V1Finder(event("e"))
    piece = (json.dumps(v1_session([(STAMP, "f"), ("x", "e")])) * 200).encode("ascii")
    for _ in range(50):
        assert finder.feed(piece) is False
        assert len(finder.tail) < 512
    assert finder.result() == ABSENT


# -- content


DIGITS = [("000", 0), ("007", 7), ("789", 789)]


@pytest.mark.parametrize("words, digits", DIGITS)
def test_the_nine_digits_of_another_writer_are_not_ours(words, digits):
    """Two processes that share a session may share a microsecond and a name, too."""
    stamp = (STAMP[:-1] + words).rstrip("0") + "Z"
    text = json.dumps(v1_session([(stamp, "e")]))
    for _, others in DIGITS:
        expected = ARRIVED if others == digits else ABSENT
        assert found_in(logged()._replace(digits=others), text) == expected


@pytest.mark.parametrize("size", [1, 64, None])
@pytest.mark.parametrize(
    "one, there, expected",
    [
        (event("e", {"n": 1}), '"data":{"n":1.0}', ARRIVED),
        (event("e", {"n": 1}), '"data":{"n":2}', UNKNOWABLE),
        (event("e", {"n": 1}), '"data":null', UNKNOWABLE),
        (event("e", {}), '"category":"info","labels":null,"data":null', ARRIVED),
        (event("e", {"t": u"gr\xfcn<"}), u'"data":{"t":"gr\xfcn\\u003c"}', ARRIVED),
        (record(kinds.METRIC, {"name": "e", "value": 0}), '"type":"gauge","value":0', ARRIVED),
        (record(kinds.METRIC, {"name": "e", "value": 0}), '"value":1', UNKNOWABLE),
        (record(kinds.METRIC, {"name": "e", "value": 1, "tags": []}), '"value":1', ARRIVED),
        (
            record(kinds.METRIC, {"name": "e", "value": 1, "tags": ["a"]}),
            '"value":1,"tags":["b"]',
            UNKNOWABLE,
        ),
    ],
)
def test_another_writers_content_under_our_time_and_name_is_not_ours(one, there, expected, size):
    """It is sent again then, and counted: never taken for delivered, never lost."""
    text = u'{"events":[{"timestamp":"%s","name":"e",%s}]}' % (STAMP, there)
    assert found_in(one, text, size) == expected


def test_our_record_is_found_behind_another_writers():
    item = u'{"timestamp":"%s","name":"e","data":{"n":%d}}'
    text = u'{"events":[%s]}' % u",".join(item % (STAMP, number) for number in (1, 2, 3))
    assert found_in(event("e", {"n": 3}), text, 50) == ARRIVED
    assert found_in(event("e", {"n": 4}), text, 50) == UNKNOWABLE


def test_another_writers_large_record_is_not_kept_in_memory():
    finder = readback_v1.V1Finder(event("e"))
    finder.feed(
        b'{"events":[{"timestamp":"' + STAMP.encode("ascii") + b'","name":"e","data":{"x":"'
    )
    for _ in range(100):
        finder.feed(b"x" * 10000)
        assert len(finder.tail) < 20000
    assert finder.result() == UNKNOWABLE


def test_an_answer_that_ends_within_the_record_proves_nothing():
    text = u'{"events":[{"timestamp":"%s","name":"e","data":{' % STAMP
    assert found_in(event("e"), text) == UNKNOWABLE


@pytest.mark.parametrize(
    "update, state, expected",
    [
        ({"a": 1}, {"a": 1, "product": "p"}, ARRIVED),
        ({"a": {"b": 1}}, {"a": {"b": 1.0, "c": 2}}, ARRIVED),
        ({"a": None}, {"b": 1}, ARRIVED),
        ({"a": {"b": None}}, {"a": {"b": None}}, ARRIVED),  # the dict replaced something else
        ({}, {"b": 1}, ARRIVED),
        ({"a": 1}, {"a": 2}, UNKNOWABLE),
        ({"a": 1}, {"b": 1}, UNKNOWABLE),
        ({"a": {"b": 1}}, {"a": 1}, UNKNOWABLE),
        ({"a": None}, {"a": 1}, UNKNOWABLE),
        ({"a": [1]}, {"a": [1, 2]}, UNKNOWABLE),
    ],
)
def test_an_update_is_found_if_the_state_has_what_it_makes(update, state, expected):
    text = json.dumps(v1_session(history=[(STAMP, state)]))
    assert found_in(record(kinds.STATE, update), text) == expected


def test_a_state_too_large_to_be_compared_is_found_by_its_time():
    text = json.dumps(v1_session(history=[(STAMP, {"a": "x" * 2000000})]))
    assert found_in(record(kinds.STATE, {"b": 1}), text, 65536) == ARRIVED


stamps = strategies.integers(min_value=CAPTURED, max_value=CAPTURED + 3).map(kinds.rfc3339)
names = strategies.sampled_from([u"e", u"f", u"caf\xe9\"", u"\\"])
entries = strategies.lists(strategies.tuples(stamps, names), max_size=5)


@hypothesis.given(entries, entries, stamps, names, strategies.integers(1, 60))
@hypothesis.settings(deadline=None)
def test_a_record_is_found_however_the_answer_is_split(events, metrics, stamp, name, size):
    text = json.dumps(v1_session(events, metrics=metrics))
    captured = next(CAPTURED + n for n in range(4) if kinds.rfc3339(CAPTURED + n) == stamp)
    expected = UNKNOWABLE if (stamp, name) in metrics else ABSENT
    if (stamp, name) in events:
        expected = ARRIVED
    assert found_in(logged(name, captured), text, size) == expected


# -- crashes


@pytest.mark.parametrize("size", [1, 7, None])
@pytest.mark.parametrize(
    "answer, expected",
    [
        ('{"id":"1","active":false,"suspended":false,"crashed":true,"state":{}}', ARRIVED),
        ('{"id":"1","active":true,"suspended":false,"crashed":false,"state":{}}', ABSENT),
        ('{"id":"1","crashed" : true }', ARRIVED),
        ('{"id":"\\"crashed\\":true","crashed":false}', ABSENT),
        ('{"id":"1","state":{}}', UNKNOWABLE),
        ('{"id":"' + "x" * 5000 + '","crashed":true}', UNKNOWABLE),
    ],
)
def test_a_crash_has_arrived_if_the_session_is_marked(answer, expected, size):
    finder = readback_v1.V1CrashFinder()
    data = answer.encode("ascii")
    size = size or len(data)
    for start in range(0, len(data), size):
        if finder.feed(data[start : start + size]):
            break
    assert finder.result() == expected


def test_the_mark_is_found_in_real_answers():
    for is_last, expected in ((False, ABSENT), (True, ARRIVED)):
        finder = readback_v1.V1CrashFinder()
        finder.feed(session_text("v1", "/api/sessions/{id2}", is_last).encode("utf-8"))
        assert finder.result() == expected


@pytest.mark.parametrize("fields", [{"data": {}}, {"name": 5}, {"name": None}, {"name": ""}])
def test_a_row_without_a_name_cannot_be_found(fields):
    """An older datacat may have left it."""
    finder = readback_v1.V1Finder(record(kinds.EVENT, fields))
    assert finder.feed(b'[{"timestamp":"x","name":"e"}]') is True
    assert finder.result() == UNKNOWABLE
