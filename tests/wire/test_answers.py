# -*- coding: utf-8 -*-
"""Promises about answers: what each response means, checked against real servers' answers."""

from __future__ import absolute_import, division

import collections
import json

import hypothesis
import pytest
from hypothesis import strategies
from tools.transcripts import sessions, transcript

from datacat import errors
from datacat.records import kinds
from datacat.wire import answers, dialects
from datacat.wire.dialects import CLASSIC, V1, Request

Response = collections.namedtuple("Response", "status headers body")

ID = "3f2b8c1e-8e5a-4c57-9a55-0c3b0f6f1a2b"
NOW = 784111777.0
EVENT_REQUEST = Request("POST", "/api/sessions/x/events", b"{}", False)
END = kinds.Record(1, 1, kinds.END, b"{}", 1767323045123450)


def as_call(exchange):
    """Return the request and the response of an exchange in a transcript."""
    body = None if exchange["body"] is None else exchange["body"].encode("utf-8")
    request = Request(str(exchange["method"]), str(exchange["path"]), body, False)
    return request, Response(
        exchange["status"], {"Content-Type": exchange["type"]}, exchange["answer"].encode("utf-8")
    )


EXCHANGES = [
    (name, number, exchange)
    for name in ("classic", "v1")
    for number, exchange in enumerate(transcript(name))
]


def text(status, words, content_type="text/plain; charset=utf-8", **headers):
    headers = dict((name.replace("_", "-"), value) for name, value in headers.items())
    return Response(status, dict(headers, **{"Content-Type": content_type}), words.encode("utf-8"))


def failure(response, request=EVENT_REQUEST):
    with pytest.raises(errors.DatacatError) as caught:
        answers.answer(request, response)
    return caught.value


# -- real servers


def expected_failure(exchange):
    status, words = exchange["status"], exchange["answer"].strip()
    if status == 400:
        return errors.RequestRefused
    if status == 404 and words.lower() == "session not found":
        return errors.SessionNotFound
    assert status in (404, 405), exchange
    return errors.OperationUnknown


@pytest.mark.parametrize(
    "name, number, exchange",
    EXCHANGES,
    ids=["%s-%d" % (name, number) for name, number, exchange in EXCHANGES],
)
def test_every_answer_of_a_real_server_is_understood(name, number, exchange):
    request, response = as_call(exchange)
    if exchange["status"] == 200:
        assert answers.answer(request, response) == json.loads(exchange["answer"])
        return
    error = failure(response, request)
    assert type(error) is expected_failure(exchange)
    assert (error.method, error.path) == (exchange["method"], exchange["path"])
    assert error.status == exchange["status"] and error.words == exchange["answer"].strip()
    if isinstance(error, errors.RequestRefused):
        assert error.own_words


def test_the_transcripts_hold_every_kind_of_answer():
    """Guards the test above: 117 exchanges of each generation, with every outcome."""
    assert len(EXCHANGES) == 234
    refused = [exchange for _, _, exchange in EXCHANGES if exchange["status"] == 400]
    lost = [exchange for _, _, exchange in EXCHANGES if "ession not found" in exchange["answer"]]
    assert len(refused) > 40 and len(lost) > 10


@pytest.mark.parametrize("name, dialect", [("classic", None), ("v1", V1)])
def test_a_real_servers_health_identifies_v1(name, dialect):
    request, response = as_call(transcript(name)[0])
    assert request.path == dialects.health().path and request.method == dialects.health().method
    assert answers.recognise_health(response) is dialect
    assert answers.is_own_health_answer(response)


@pytest.mark.parametrize("name, dialect", [("classic", CLASSIC), ("v1", V1)])
def test_a_real_servers_session_identifies_its_dialect(name, dialect):
    assert len(sessions(name)) == 4
    for session in sessions(name):
        assert answers.recognise_session(json.loads(session)) is dialect
        assert answers.recognise_beginning(session.encode("utf-8")[:200]) is dialect


def test_data_named_like_v1s_fields_does_not_make_a_classic_server_v1():
    session = b'{"id":"x","active":true,"state":{"crashed":true},"events":[]}'
    assert answers.recognise_session(json.loads(session.decode("ascii"))) is CLASSIC
    assert answers.recognise_beginning(session) is CLASSIC


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
def test_another_services_health_is_not_taken_for_a_datacat_servers(response):
    assert answers.recognise_health(response) is None
    assert not answers.is_own_health_answer(response)


# -- answers


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body", ['{"status":"ok"}', '{"success":true}', ' {"status":"ok","n":1}\n']
)
def test_a_write_is_answered_in_each_documented_way(status, body):
    request = V1.send(END, ID, False)
    answered = answers.answer(request, text(status, body, "application/json"))
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
    assert answers.answer(V1.open(b"{}"), response) == answered


@pytest.mark.parametrize(
    "request_made, body",
    [
        (V1.open(b"{}"), '{"session_id":""}'),
        (V1.open(b"{}"), '{"session_id":true}'),
        (V1.open(b"{}"), '{"session_id":7.5}'),
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
def test_a_2xx_without_the_operations_answer_is_unexpected(request_made, body):
    error = failure(text(200, body), request_made)
    assert type(error) is errors.UnexpectedAnswer and error.retriable
    assert error.words == body[:500].strip()


def test_a_2xx_that_is_not_utf8_is_unexpected():
    assert type(failure(Response(200, {}, b'{"status":"ok\xff"}'))) is errors.UnexpectedAnswer


@pytest.mark.parametrize("status", [100, 202, 204, 206, 299])
def test_any_other_2xx_is_unexpected_whatever_its_body(status):
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
def test_each_status_has_its_class_of_error(status, kind):
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
def test_a_session_counts_as_lost_only_in_the_servers_exact_words(words, kind):
    assert type(failure(text(404, words))) is kind


def test_the_words_mean_nothing_with_another_status():
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
def test_a_refusal_says_whether_it_looks_like_a_datacat_servers(words, content_type, own):
    for status in (400, 401, 403, 413, 422):
        assert failure(text(status, words, content_type)).own_words is own


def test_a_407_is_never_a_datacat_servers_own():
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
def test_the_words_of_real_servers_refusals_are_known(words, known):
    assert answers.is_known_refusal(failure(text(400, words, "text/plain"))) is known


@pytest.mark.parametrize("name", ["classic", "v1"])
def test_the_beginning_of_a_real_servers_session_is_accepted(name):
    assert sessions(name)
    for session in sessions(name):
        request = V1.read(json.loads(session)["id"])
        response = Response(200, {}, b"")
        assert answers.check_beginning(request, response, session.encode("utf-8")[:64]) is None


@pytest.mark.parametrize(
    "start", [b"", b"<html>", b'<html><a id="id">', b"[]", b'{"status":"ok"}']
)
def test_any_other_beginning_is_unexpected_and_quoted(start):
    with pytest.raises(errors.UnexpectedAnswer) as caught:
        answers.check_beginning(V1.read("x"), Response(200, {}, b""), start)
    assert caught.value.words == start.decode("ascii")


def test_a_refused_get_fails_like_any_other_call():
    lost = Response(404, {}, b"Session not found\n")
    with pytest.raises(errors.SessionNotFound):
        answers.check_beginning(V1.read("x"), lost, b"")


@pytest.mark.parametrize(
    "name", [".", "..", "a b", "a\nb", "\x00", "x" * 201, u"\ud800", u"\u0085"]
)
def test_an_impossible_id_is_unexpected(name):
    made = Response(200, {}, json.dumps({"session_id": name}).encode("ascii"))
    with pytest.raises(errors.UnexpectedAnswer):
        answers.answer(V1.open(b"{}"), made)


@pytest.mark.parametrize("name", ["local", "6f1c-77", u"s\xe9ance/1", "x" * 200])
def test_an_unusual_id_is_accepted_unchanged(name):
    made = Response(200, {}, json.dumps({"session_id": name}).encode("ascii"))
    assert answers.answer(V1.open(b"{}"), made)["session_id"] == name


def test_words_are_cut_and_invalid_bytes_replaced():
    error = failure(Response(500, {}, b"\xff" + b"x" * 10**6))
    assert error.words.startswith(u"\ufffdxx") and len(error.words) == 500


def test_a_redirect_is_reported_with_its_host_and_without_its_secrets():
    error = failure(text(302, "", Location="https://u:p@portal.example:8443/login?token=t#f"))
    assert "https://portal.example" in str(error)
    assert not any(secret in str(error) for secret in ("u:p", "token", "login"))


@pytest.mark.parametrize("location", ["/login", "", "http://[broken", "::", u"http://caf\xe9.x/"])
def test_a_redirect_to_nonsense_is_still_reported_as_one(location):
    assert type(failure(text(302, "", Location=location))) is errors.Redirected


def test_an_error_names_the_request_the_status_and_the_servers_words():
    message = str(failure(text(400, "Invalid request body\n")))
    assert "POST /api/sessions/x/events" in message and "400" in message
    assert "Invalid request body" in message


def test_a_servers_retry_after_is_passed_on():
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
def test_retry_after_is_read_as_seconds_or_a_date_and_nonsense_ignored(value, seconds):
    headers = {} if value is None else {"Retry-After": value}
    assert answers.retry_after(headers, NOW) == seconds


def test_a_date_is_measured_by_the_servers_own_clock():
    headers = {
        "Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT",
        "Date": "Sun, 06 Nov 1994 08:50:07 GMT",
    }
    assert answers.retry_after(headers, NOW + 86400) == 30.0


@hypothesis.given(strategies.text(max_size=30), strategies.text(max_size=30))
def test_retry_after_never_raises_and_stays_within_an_hour(value, date):
    seconds = answers.retry_after({"Retry-After": value, "Date": date}, NOW)
    assert seconds is None or 0 < seconds <= 3600


@pytest.mark.parametrize(
    "body, expected",
    [
        (b'\xef\xbb\xbf{"session_id":"s"}', u"s"),
        (b'{"session_id":17}', u"17"),
        (b'{"id":170000000000000000000}', u"170000000000000000000"),
    ],
    ids=["byte order mark", "number", "large number"],
)
def test_an_id_may_be_a_number_and_a_body_begin_with_a_byte_order_mark(body, expected):
    answered = answers.answer(V1.open(b"{}"), Response(200, {}, body))
    assert answered["session_id"] == expected


GIVEN = [
    (u"a", b'{"id":"a"}', True),
    (u"a", b'{"id" : "a","state":{"id":"z"}}', True),
    (u"a", b'\xef\xbb\xbf{"id":"a"}', True),
    (u"17", b'{"id":17}', True),
    (u"a/b c", b'{"id":"a/b c"}', True),
    (u"\xe4", b'{"id":"\\u00e4"}', True),
    (u"a", b'{"id":"z"}', False),
    (u"a", b'{"id":"z","state":{"id":"a"}}', False),
    (u"1", b'{"id":17}', False),
    (u"True", b'{"id":true}', False),
    (u"a", b'{"id":null}', False),
    (u"a", b'{"name":"a"}', False),
]


@pytest.mark.parametrize("wanted, body, is_it", GIVEN)
def test_the_answer_about_another_session_is_never_believed(wanted, body, is_it):
    request, response = V1.read(wanted), Response(200, {}, body)
    for check in (
        lambda: answers.answer(request, response),
        lambda: answers.check_beginning(request, Response(200, {}, b""), body),
    ):
        if is_it:
            check()
        else:
            pytest.raises(errors.UnexpectedAnswer, check)


@pytest.mark.parametrize(
    "start, expected",
    [
        (b'{"id":"1","created_at":"a","updated_at":"2026-01-02T03:04:05.1Z","x":', True),
        (b'{ "id" : "1", "updated_at" : "2026-01-02T03:04:05.1Z" }', True),
        (b'{"id":"1","state":{"updated_at":"2026-01-02T03:04:05.1Z"}}', False),
        (b'{"id":"1"', False),
        (b'{"id":"1","updated_at":""', False),
        (b"", False),
    ],
)
def test_the_time_of_the_last_change_is_the_servers_own(start, expected):
    """Not that of an application which has such a field in its state."""
    assert answers.version(start) == (b'"2026-01-02T03:04:05.1Z"' if expected else None)
