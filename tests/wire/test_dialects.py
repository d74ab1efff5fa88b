# -*- coding: utf-8 -*-
"""Promises of the dialects: each record as a request that its generation understands."""

from __future__ import absolute_import, division

import gzip
import io
import json

import hypothesis
import pytest
from hypothesis import strategies

from datacat import errors
from datacat.records import build, kinds
from datacat.wire.dialects import CLASSIC, V1, Request

ID = "3f2b8c1e-8e5a-4c57-9a55-0c3b0f6f1a2b"
CAPTURED = 1767323045123450
STAMP = "2026-01-02T03:04:05.12345Z"


def record(kind, fields, captured=CAPTURED):
    return kinds.Record(1, 1, kind, build.encode(fields), captured)


def sent(dialect, kind, fields, late=False):
    request = dialect.send(record(kind, fields), ID, late)
    return request._replace(body=json.loads(request.body.decode("ascii")))


def test_v1_gets_the_capture_time_first_and_the_body_unchanged():
    one = record(kinds.EVENT, {"name": "e", "data": {"k": u"\xe9"}})
    request = V1.send(one, ID, True)
    assert request.body == b'{"timestamp":"' + STAMP.encode("ascii") + b'",' + one.body[1:]
    assert (request.method, request.path) == ("POST", "/api/sessions/%s/events" % ID)
    assert not request.repeatable


@pytest.mark.parametrize(
    "kind, operation",
    [(kinds.EVENT, "events"), (kinds.EXCEPTION, "events"), (kinds.METRIC, "metrics")],
)
def test_v1_gets_events_exceptions_and_metrics_with_their_time(kind, operation):
    request = sent(V1, kind, {"name": "n", "value": 1})
    assert request.body == {"timestamp": STAMP, "name": "n", "value": 1}
    assert request.path.endswith("/" + operation)


def test_v1_gets_the_capture_time_of_an_empty_body_too():
    assert V1.send(record(kinds.EVENT, {}), ID, False).body == (
        b'{"timestamp":"2026-01-02T03:04:05.12345Z"}'
    )


@pytest.mark.parametrize(
    "state", [{"a": 1}, {}, {"state": "running"}, {"state": {"k": 1}, "b": 2}, {"timestamp": "x"}]
)
def test_v1_gets_every_state_in_the_envelope(state):
    request = sent(V1, kinds.STATE, state)
    assert request.body == {"timestamp": STAMP, "state": state}
    assert request.path.endswith("/state") and request.repeatable


@pytest.mark.parametrize("kind", [kinds.STATE, kinds.EVENT, kinds.METRIC, kinds.EXCEPTION])
def test_v1_gets_a_large_body_compressed_and_a_small_one_unchanged(kind):
    small, large = ({"name": "n", "value": 1, "text": "x" * length} for length in (900, 1100))
    assert V1.send(record(kind, small), ID, False).encoding is None
    request = V1.send(record(kind, large), ID, False)
    plain = V1.send(record(kind, small), ID, False).body.replace(b"x" * 900, b"x" * 1100)
    assert request.encoding == "gzip"
    assert gzip.GzipFile(fileobj=io.BytesIO(request.body)).read() == plain


@pytest.mark.parametrize("late", [False, True])
def test_classic_never_gets_gzip_because_it_refuses_it(late):
    for kind in (kinds.STATE, kinds.EVENT, kinds.METRIC, kinds.EXCEPTION):
        request = CLASSIC.send(record(kind, {"name": "n", "text": "x" * 5000}), ID, late)
        assert request.encoding is None
        assert b"x" * 5000 in request.body


@pytest.mark.parametrize("state", [{"a": 1}, {}, {"state": "running"}])
@pytest.mark.parametrize("late", [False, True])
def test_classic_gets_every_state_plain(state, late):
    request = sent(CLASSIC, kinds.STATE, state, late)
    assert request.body == state and request.repeatable


@pytest.mark.parametrize("dialect", [CLASSIC, V1])
def test_an_end_is_posted_to_end(dialect):
    request = sent(dialect, kinds.END, {})
    assert request == Request("POST", "/api/sessions/%s/end" % ID, {}, False)


def test_a_crash_is_posted_to_crash_on_v1_and_to_end_on_classic():
    assert sent(V1, kinds.CRASH, {"reason": "killed"}) == Request(
        "POST", "/api/sessions/%s/crash" % ID, {"reason": "killed"}, False
    )
    assert sent(CLASSIC, kinds.CRASH, {"reason": "killed"}) == Request(
        "POST", "/api/sessions/%s/end" % ID, {}, False
    )


def test_classic_gets_the_body_of_a_timely_record_unchanged():
    one = record(kinds.EVENT, {"name": "e", "data": {"k": 1}, "group": "g"})
    assert CLASSIC.send(one, ID, False).body == one.body


@pytest.mark.parametrize("kind", [kinds.EVENT, kinds.EXCEPTION])
@pytest.mark.parametrize("data", [{}, {"k": 1}, {"data": {"data": {}}}])
def test_classic_gets_the_capture_time_of_a_late_event_in_its_data(kind, data):
    body = sent(CLASSIC, kind, {"name": '"data":{', "data": data}, late=True).body
    assert body == {"name": '"data":{', "data": dict(data, _captured_at=STAMP)}


def test_classic_keeps_a_capture_time_that_the_application_set():
    body = sent(CLASSIC, kinds.EVENT, {"name": "e", "data": {"_captured_at": 1}}, late=True).body
    assert body["data"] == {"_captured_at": 1}


@pytest.mark.parametrize("tags", [None, [], ["a:b"]])
def test_classic_gets_the_capture_time_of_a_late_metric_as_a_tag(tags):
    body = sent(CLASSIC, kinds.METRIC, {"name": "m", "value": 1, "tags": tags}, late=True).body
    assert body["tags"] == (tags or []) + ["captured_at:" + STAMP]


def test_reading_listing_and_opening_use_the_documented_paths():
    assert CLASSIC.read(ID) == V1.read(ID) == Request("GET", "/api/sessions/" + ID, None, True)
    assert CLASSIC.open(b"{}") == V1.open(b"{}") == Request("POST", "/api/sessions", b"{}", False)
    assert CLASSIC.listing() == Request("GET", "/api/grafana/sessions", None, True)
    assert V1.listing() == Request("GET", "/api/data/sessions", None, True)


def test_only_v1_has_a_heartbeat():
    assert CLASSIC.heartbeat(ID) is None
    assert V1.heartbeat(ID) == Request("POST", "/api/sessions/%s/heartbeat" % ID, b"{}", True)


@pytest.mark.parametrize(
    "server_id, quoted",
    [
        ("a/../b", "a%2F..%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\r\nb", "a%0D%0Ab"),
        ("a b", "a%20b"),
        (u"caf\xe9", "caf%C3%A9"),
        ("%2e", "%252e"),
        ("a.b", "a.b"),
        ("x\n", "x%0A"),
    ],
)
def test_an_id_stays_within_its_segment_of_the_path(server_id, quoted):
    path = V1.read(server_id).path
    assert path == "/api/sessions/" + quoted and isinstance(path, str)


@hypothesis.given(strategies.text(min_size=1, max_size=12))
def test_any_id_makes_an_ascii_path_of_three_segments(server_id):
    hypothesis.assume(server_id not in (".", ".."))
    path = CLASSIC.read(server_id).path
    path.encode("ascii")
    assert path.count("/") == 3 and not set(path) & set("?# \r\n")


@pytest.mark.parametrize("server_id", ["", ".", "..", None, 7])
def test_an_impossible_id_is_refused(server_id):
    with pytest.raises(errors.InvalidArgument):
        V1.read(server_id)
