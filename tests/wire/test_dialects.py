# -*- coding: utf-8 -*-
"""Records as requests and responses as what they mean, against what real servers answered."""

from __future__ import absolute_import, division

import collections
import gzip
import io
import json
import os

import hypothesis
import pytest
from hypothesis import strategies

from datacat import errors
from datacat.records import build, kinds
from datacat.wire import dialects
from datacat.wire.dialects import CLASSIC, V1, Request

Response = collections.namedtuple("Response", "status headers body")

TRANSCRIPTS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "transcripts"
)
ID = "3f2b8c1e-8e5a-4c57-9a55-0c3b0f6f1a2b"
CAPTURED = 1767323045123450
STAMP = "2026-01-02T03:04:05.12345Z"
NOW = 784111777.0
EVENT_REQUEST = Request("POST", "/api/sessions/x/events", b"{}", False)


def transcript(name):
    with io.open(os.path.join(TRANSCRIPTS, name + ".json"), encoding="utf-8") as stream:
        return json.load(stream)


def as_call(line):
    """Return the request and the response of one line of a transcript."""
    body = None if line["body"] is None else line["body"].encode("utf-8")
    request = Request(str(line["method"]), str(line["path"]), body, False)
    return request, Response(
        line["status"], {"Content-Type": line["type"]}, line["answer"].encode("utf-8")
    )


LINES = [
    (name, number, line)
    for name in ("classic", "v1")
    for number, line in enumerate(transcript(name))
]


def record(kind, fields, captured=CAPTURED):
    return kinds.Record(1, 1, kind, build.encode(fields), captured)


def sent(dialect, kind, fields, late=False):
    request = dialect.send(record(kind, fields), ID, late)
    return request._replace(body=json.loads(request.body.decode("ascii")))


def text(status, words, content_type="text/plain; charset=utf-8", **headers):
    headers = dict((name.replace("_", "-"), value) for name, value in headers.items())
    return Response(status, dict(headers, **{"Content-Type": content_type}), words.encode("utf-8"))


def failure(response, request=EVENT_REQUEST):
    with pytest.raises(errors.DatacatError) as caught:
        dialects.answer(request, response)
    return caught.value


# -- what real servers answered


def expected_failure(line):
    status, words = line["status"], line["answer"].strip()
    if status == 400:
        return errors.RequestRefused
    if status == 404 and words.lower() == "session not found":
        return errors.SessionNotFound
    assert status in (404, 405), line
    return errors.OperationUnknown


@pytest.mark.parametrize(
    "name, number, line", LINES, ids=["%s-%d" % (name, number) for name, number, line in LINES]
)
def test_each_answer_of_a_real_server_is_understood(name, number, line):
    request, response = as_call(line)
    if line["status"] == 200:
        assert dialects.answer(request, response) == json.loads(line["answer"])
        return
    error = failure(response, request)
    assert type(error) is expected_failure(line)
    assert (error.method, error.path) == (line["method"], line["path"])
    assert error.status == line["status"] and error.words == line["answer"].strip()
    if isinstance(error, errors.RequestRefused):
        assert error.own_words


def test_the_transcripts_hold_every_kind_of_answer():
    """The test above has something to say: 117 calls of each generation, of every outcome."""
    assert len(LINES) == 234
    refused = [line for _, _, line in LINES if line["status"] == 400]
    lost = [line for _, _, line in LINES if "ession not found" in line["answer"]]
    assert len(refused) > 40 and len(lost) > 10


@pytest.mark.parametrize("name, dialect", [("classic", None), ("v1", V1)])
def test_the_health_of_a_real_server_tells_v1(name, dialect):
    request, response = as_call(transcript(name)[0])
    assert request.path == dialects.health().path and request.method == dialects.health().method
    assert dialects.recognise_health(response) is dialect
    assert dialects.is_own_health_answer(response)


@pytest.mark.parametrize("name, dialect", [("classic", CLASSIC), ("v1", V1)])
def test_a_session_of_a_real_server_tells_its_dialect(name, dialect):
    sessions = [
        line["answer"]
        for line in transcript(name)
        if line["method"] == "GET" and line["answer"].startswith('{"id"')
    ]
    assert len(sessions) == 4
    for session in sessions:
        assert dialects.recognise_session(json.loads(session)) is dialect
        assert dialects.recognise_beginning(session.encode("utf-8")[:200]) is dialect


def test_data_named_like_v1_s_fields_does_not_make_a_classic_server_v1():
    session = b'{"id":"x","active":true,"state":{"crashed":true},"events":[]}'
    assert dialects.recognise_session(json.loads(session.decode("ascii"))) is CLASSIC
    assert dialects.recognise_beginning(session) is CLASSIC


@pytest.mark.parametrize(
    "response",
    [
        text(200, "<html>login</html>", "text/html"),
        text(200, '{"service":"another"}', "application/json"),
        text(200, '["service"]', "application/json"),
        text(200, '{"service":7}', "application/json"),
        text(503, '{"service":"datacat-server"}', "application/json"),
        text(404, "<html>not found</html>", "text/html"),
        text(204, "", ""),
    ],
)
def test_the_health_of_another_service_is_not_a_datacat_server_s(response):
    assert dialects.recognise_health(response) is None
    assert not dialects.is_own_health_answer(response)


# -- requests


def test_v1_gets_the_capture_time_in_front_and_the_body_unchanged():
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


def test_v1_gets_the_time_of_a_body_without_fields_too():
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
def test_v1_gets_a_large_body_as_gzip_and_a_small_one_as_it_is(kind):
    small, large = ({"name": "n", "value": 1, "text": "x" * length} for length in (900, 1100))
    assert V1.send(record(kind, small), ID, False).encoding is None
    request = V1.send(record(kind, large), ID, False)
    plain = V1.send(record(kind, small), ID, False).body.replace(b"x" * 900, b"x" * 1100)
    assert request.encoding == "gzip"
    assert gzip.GzipFile(fileobj=io.BytesIO(request.body)).read() == plain


@pytest.mark.parametrize("late", [False, True])
def test_classic_never_gets_gzip_which_it_would_refuse(late):
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
def test_the_end_goes_to_the_end(dialect):
    request = sent(dialect, kinds.END, {})
    assert request == Request("POST", "/api/sessions/%s/end" % ID, {}, False)


def test_a_crash_is_told_to_v1_and_is_an_end_to_classic():
    assert sent(V1, kinds.CRASH, {"reason": "killed"}) == Request(
        "POST", "/api/sessions/%s/crash" % ID, {"reason": "killed"}, False
    )
    assert sent(CLASSIC, kinds.CRASH, {"reason": "killed"}) == Request(
        "POST", "/api/sessions/%s/end" % ID, {}, False
    )


def test_classic_gets_the_body_as_it_is_in_time():
    one = record(kinds.EVENT, {"name": "e", "data": {"k": 1}, "group": "g"})
    assert CLASSIC.send(one, ID, False).body == one.body


@pytest.mark.parametrize("kind", [kinds.EVENT, kinds.EXCEPTION])
@pytest.mark.parametrize("data", [{}, {"k": 1}, {"data": {"data": {}}}])
def test_classic_gets_the_capture_time_of_a_late_event_in_its_data(kind, data):
    body = sent(CLASSIC, kind, {"name": '"data":{', "data": data}, late=True).body
    assert body == {"name": '"data":{', "data": dict(data, _captured_at=STAMP)}


def test_classic_leaves_a_capture_time_of_the_program_s_own():
    body = sent(CLASSIC, kinds.EVENT, {"name": "e", "data": {"_captured_at": 1}}, late=True).body
    assert body["data"] == {"_captured_at": 1}


@pytest.mark.parametrize("tags", [None, [], ["a:b"]])
def test_classic_gets_the_capture_time_of_a_late_metric_as_a_tag(tags):
    body = sent(CLASSIC, kinds.METRIC, {"name": "m", "value": 1, "tags": tags}, late=True).body
    assert body["tags"] == (tags or []) + ["captured_at:" + STAMP]


def test_reading_listing_and_opening_ask_at_the_documented_paths():
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
def test_an_id_stays_within_its_part_of_the_path(server_id, quoted):
    path = V1.read(server_id).path
    assert path == "/api/sessions/" + quoted and isinstance(path, str)


@hypothesis.given(strategies.text(min_size=1, max_size=12))
def test_any_id_makes_a_path_of_three_parts_in_ascii(server_id):
    hypothesis.assume(server_id not in (".", ".."))
    path = CLASSIC.read(server_id).path
    path.encode("ascii")
    assert path.count("/") == 3 and not set(path) & set("?# \r\n")


@pytest.mark.parametrize("server_id", ["", ".", "..", None, 7])
def test_what_can_be_no_id_is_refused(server_id):
    with pytest.raises(errors.InvalidRecord):
        V1.read(server_id)


# -- answers


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body", ['{"status":"ok"}', '{"success":true}', ' {"status":"ok","n":1}\n']
)
def test_a_write_is_answered_in_each_documented_way(status, body):
    request = V1.send(record(kinds.END, {}), ID, False)
    answered = dialects.answer(request, text(status, body, "application/json"))
    assert answered == json.loads(body)


@pytest.mark.parametrize(
    "body, answered",
    [
        ('{"session_id":"s"}', {"session_id": "s"}),
        ('{"id":"s","x":1}', {"id": "s", "session_id": "s", "x": 1}),
    ],
)
@pytest.mark.parametrize("status", [200, 201])
def test_a_creation_is_answered_with_a_session_id(status, body, answered):
    response = text(status, body, "application/json")
    assert dialects.answer(V1.open(b"{}"), response) == answered


@pytest.mark.parametrize(
    "request_made, body",
    [
        (V1.open(b"{}"), '{"session_id":""}'),
        (V1.open(b"{}"), '{"session_id":7}'),
        (V1.open(b"{}"), '{"status":"ok"}'),
        (V1.open(b"{}"), "[]"),
        (V1.read(ID), '{"status":"ok"}'),
        (V1.read(ID), "null"),
        (V1.listing(), "{}"),
        (V1.listing(), "null"),
        (dialects.health(), '{"status":"ok"}'),
        (V1.heartbeat(ID), '{"session_id":"s"}'),
        (V1.heartbeat(ID), '{"status":"error"}'),
        (V1.heartbeat(ID), '{"success":1}'),
        (V1.heartbeat(ID), '"ok"'),
        (V1.heartbeat(ID), ""),
        (V1.heartbeat(ID), '{"status":"ok"'),
        (V1.heartbeat(ID), "[" * 100000),
        (V1.heartbeat(ID), u'<html lang="é">Please log in</html>'),
    ],
)
def test_a_2xx_that_is_not_the_operation_s_answer_is_unexpected(request_made, body):
    error = failure(text(200, body), request_made)
    assert type(error) is errors.UnexpectedAnswer and error.retriable
    assert error.words == body[:500].strip()


def test_bytes_that_are_no_utf8_are_unexpected():
    assert type(failure(Response(200, {}, b'{"status":"ok\xff"}'))) is errors.UnexpectedAnswer


@pytest.mark.parametrize("status", [100, 202, 204, 206, 299])
def test_another_2xx_is_unexpected_whatever_it_says(status):
    assert type(failure(text(status, '{"status":"ok"}'))) is errors.UnexpectedAnswer


@pytest.mark.parametrize(
    "status, kind",
    [
        (300, errors.Redirected),
        (301, errors.Redirected),
        (302, errors.Redirected),
        (304, errors.Redirected),
        (308, errors.Redirected),
        (400, errors.RequestRefused),
        (413, errors.RequestRefused),
        (422, errors.RequestRefused),
        (401, errors.NotAuthorized),
        (403, errors.NotAuthorized),
        (407, errors.NotAuthorized),
        (402, errors.OperationUnknown),
        (404, errors.OperationUnknown),
        (405, errors.OperationUnknown),
        (409, errors.OperationUnknown),
        (410, errors.OperationUnknown),
        (418, errors.OperationUnknown),
        (451, errors.OperationUnknown),
        (501, errors.OperationUnknown),
        (408, errors.ServerBusy),
        (425, errors.ServerBusy),
        (429, errors.ServerBusy),
        (503, errors.ServerBusy),
        (500, errors.ServerFault),
        (502, errors.ServerFault),
        (504, errors.ServerFault),
        (507, errors.ServerFault),
        (599, errors.ServerFault),
        (999, errors.ServerFault),
    ],
)
def test_each_status_is_its_kind_of_error(status, kind):
    error = failure(text(status, "words"))
    assert type(error) is kind
    assert (error.method, error.path) == ("POST", "/api/sessions/x/events")
    assert (error.status, error.words) == (status, "words")


@pytest.mark.parametrize(
    "words, kind",
    [
        ("session not found", errors.SessionNotFound),
        ("Session not found\n", errors.SessionNotFound),
        ("SESSION NOT FOUND", errors.OperationUnknown),
        ("session not found here", errors.OperationUnknown),
        ("<h1>session not found</h1>", errors.OperationUnknown),
        ("Not found", errors.OperationUnknown),
        ("404 page not found", errors.OperationUnknown),
        ("", errors.OperationUnknown),
    ],
)
def test_a_session_is_lost_only_in_the_server_s_very_words(words, kind):
    assert type(failure(text(404, words))) is kind


def test_words_of_another_status_lose_no_session():
    assert type(failure(text(410, "session not found"))) is errors.OperationUnknown


@pytest.mark.parametrize(
    "words, content_type, own",
    [
        ("Invalid request body\n", "text/plain; charset=utf-8", True),
        ("Invalid request body", "Text/Plain", True),
        ("Invalid request body", "text/html", False),
        ("Invalid request body", "", False),
        ('{"error":"bad"}', "application/json", False),
        ("<html>Blocked</html>", "text/plain", False),
        ("Blocked\nby the filter", "text/plain", False),
        ("x" * 201, "text/plain", False),
        ("", "text/plain", False),
    ],
)
def test_a_refusal_tells_whether_a_datacat_server_said_it(words, content_type, own):
    for status in (400, 401, 403, 413, 422):
        assert failure(text(status, words, content_type)).own_words is own


def test_a_proxy_s_wish_for_credentials_is_never_a_datacat_server_s_own():
    assert failure(text(407, "Unauthorized", "text/plain")).own_words is False


@pytest.mark.parametrize(
    "words, known",
    [
        ("Unauthorized", True),
        ("Invalid request body\n", True),
        ("Product and version are required fields", True),
        ("Client sent an HTTP request to an HTTPS server.", False),
        ("Bad Request", False),
    ],
)
def test_the_words_that_real_servers_refuse_with_are_known(words, known):
    assert dialects.knows_refusal(failure(text(400, words, "text/plain"))) is known


@pytest.mark.parametrize("name", ["classic", "v1"])
def test_the_beginning_of_a_real_server_s_session_is_recognised_as_one(name):
    request = V1.read("x")
    sessions = [
        line["answer"]
        for line in transcript(name)
        if line["method"] == "GET" and line["answer"].startswith('{"id"')
    ]
    assert sessions
    for session in sessions:
        response = Response(200, {}, b"")
        assert dialects.answer_begun(request, response, session.encode("utf-8")[:64]) is None


@pytest.mark.parametrize(
    "start", [b"", b"<html>", b'<html><a id="id">', b"[]", b'{"status":"ok"}']
)
def test_the_beginning_of_anything_else_is_unexpected_and_quoted(start):
    with pytest.raises(errors.UnexpectedAnswer) as caught:
        dialects.answer_begun(V1.read("x"), Response(200, {}, b""), start)
    assert caught.value.words == start.decode("ascii")


def test_a_session_of_which_nothing_came_fails_as_any_other_call():
    lost = Response(404, {}, b"Session not found\n")
    with pytest.raises(errors.SessionNotFound):
        dialects.answer_begun(V1.read("x"), lost, b"")


@pytest.mark.parametrize(
    "name", [".", "..", "a b", "a\nb", "\x00", "x" * 201, u"\ud800", u"\u0085"]
)
def test_an_id_that_cannot_be_one_is_unexpected(name):
    made = Response(200, {}, json.dumps({"session_id": name}).encode("ascii"))
    with pytest.raises(errors.UnexpectedAnswer):
        dialects.answer(V1.open(b"{}"), made)


@pytest.mark.parametrize("name", ["local", "6f1c-77", u"s\xe9ance/1", "x" * 200])
def test_an_odd_id_is_taken_as_it_is(name):
    made = Response(200, {}, json.dumps({"session_id": name}).encode("ascii"))
    assert dialects.answer(V1.open(b"{}"), made)["session_id"] == name


def test_words_are_cut_and_what_is_no_text_is_replaced():
    error = failure(Response(500, {}, b"\xff" + b"x" * 10**6))
    assert error.words.startswith(u"\ufffdxx") and len(error.words) == 500


def test_a_redirect_names_the_host_and_none_of_the_url_s_secrets():
    error = failure(text(302, "", Location="https://u:p@portal.example:8443/login?token=t#f"))
    assert "https://portal.example" in str(error)
    assert not any(secret in str(error) for secret in ("u:p", "token", "login"))


@pytest.mark.parametrize("location", ["/login", "", "http://[broken", "::", u"http://caf\xe9.x/"])
def test_a_redirect_to_anywhere_raises_nothing_else(location):
    assert type(failure(text(302, "", Location=location))) is errors.Redirected


def test_an_error_says_what_happened_where_and_in_the_server_s_words():
    told = str(failure(text(400, "Invalid request body\n")))
    assert "POST /api/sessions/x/events" in told and "400" in told
    assert "Invalid request body" in told


def test_a_busy_server_s_wait_is_passed_on():
    assert failure(text(503, "", Retry_After="7")).retry_after == 7.0
    assert failure(text(500, "", Retry_After="7")).retry_after == 7.0
    assert failure(text(503, "")).retry_after is None


# -- Retry-After; NOW is the moment of RFC 9110's own example, Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("1000000000", 3600.0),
        ("9" * 5000, 3600.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 2094 08:50:37 GMT", 3600.0),
        ("Sun, 06 Nov 1994 09:50:37 +0100", 60.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:00:00 GMT", None),
        ("0", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("0x10", None),
        (u"\u0663", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Sun, 99 Xxx 1994 99:99:99 GMT", None),
        ("120; 5", None),
        (",,,", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_garbage_ignored(value, seconds):
    headers = {} if value is None else {"Retry-After": value}
    assert dialects.retry_after(headers, NOW) == seconds


def test_a_date_is_measured_by_the_server_s_own_clock():
    headers = {
        "Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT",
        "Date": "Sun, 06 Nov 1994 08:50:07 GMT",
    }
    assert dialects.retry_after(headers, NOW + 86400) == 30.0


@hypothesis.given(strategies.text(max_size=30), strategies.text(max_size=30))
def test_retry_after_never_raises_and_stays_within_an_hour(value, date):
    seconds = dialects.retry_after({"Retry-After": value, "Date": date}, NOW)
    assert seconds is None or 0 < seconds <= 3600
