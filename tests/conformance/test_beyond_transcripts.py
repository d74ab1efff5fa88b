"""What every server does and no transcript covers: text, numbers, order, threads, odd requests."""

from __future__ import absolute_import, division

import json
import threading

import pytest
from asking import Server, refusal, words, zipped

LARGE = 1024 * 1024


def field(server, session_id, body):
    """Post the only event; return the text after its `"data":`."""
    server.accepted(session_id, "events", body)
    return server.text(session_id).split(u'"data":', 1)[1]


@pytest.mark.parametrize(
    "sent, answered",
    [
        (u'"\u00e9\u4e2d\U0001f600"', u'"\u00e9\u4e2d\U0001f600"'),
        (u'"\\u00e9\\u4e2d\\ud83d\\ude00"', u'"\u00e9\u4e2d\U0001f600"'),
        (u'"<a> & b"', u'"\\u003ca\\u003e \\u0026 b"'),
        (u'"\u2028\u2029"', u'"\\u2028\\u2029"'),
        (u'"\\"\\\\\\/\\n\\r\\t"', u'"\\"\\\\/\\n\\r\\t"'),
        (u'"\\u0000\\u001f\x7f"', u'"\\u0000\\u001f\x7f"'),
        (u'"\\udc00\\ud800x"', u'"\ufffd\ufffdx"'),
    ],
    ids=["raw", "escaped", "html", "line ends", "short escapes", "control", "lone surrogates"],
)
def test_text_comes_back_as_go_prints_it(server, session_id, sent, answered):
    body = u'{"name":"text","data":{"v":%s}}' % sent
    assert field(server, session_id, body).startswith(u'{"v":%s}' % answered)


def test_bytes_that_are_not_utf8_are_replaced_one_by_one(server, session_id):
    body = b'{"name":"text","data":{"v":"\xe2\x82|\xff|\xed\xa0\x80"}}'
    assert field(server, session_id, body).startswith(
        u'{"v":"\ufffd\ufffd|\ufffd|\ufffd\ufffd\ufffd"}'
    )


@pytest.mark.parametrize(
    "sent, answered",
    [
        ("0", "0"),
        ("-0", "-0"),
        ("1.0", "1"),
        ("1E2", "100"),
        ("-1.5", "-1.5"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("0.00001", "0.00001"),
        ("100000000000000000000", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("123456789012345678", "123456789012345680"),
        ("9007199254740993", "9007199254740992"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("5e-324", "5e-324"),
    ],
)
def test_numbers_come_back_as_float64_in_go_s_spelling(server, session_id, sent, answered):
    body = u'{"name":"number","data":{"v":%s}}' % sent
    assert field(server, session_id, body).startswith(u'{"v":%s}' % answered)


def test_keys_come_back_sorted_and_repeated_ones_keep_the_last(server, session_id):
    body = u'{"name":"keys","data":{"b":1,"a":2,"B":3,"a":4,"\u00e9":5}}'
    assert field(server, session_id, body).startswith(u'{"B":3,"a":4,"b":1,"\u00e9":5}')


def test_field_names_match_in_any_case(server, session_id):
    server.accepted(session_id, "events", u'{"Name":"case","DATA":{"k":1}}')
    event = server.session(session_id)["events"][0]
    assert (event["name"], event["data"]) == ("case", {"k": 1})


def test_null_leaves_a_field_as_it_was(server, session_id):
    server.accepted(session_id, "metrics", u'{"name":"a","name":null,"value":2,"value":null}')
    metric = server.session(session_id)["metrics"][0]
    assert (metric["name"], metric["value"]) == ("a", 2)


@pytest.mark.parametrize(
    "body",
    [
        u"\xef\xbb\xbf{}",
        "{'name':1}",
        "{\"name\":\"a\nb\"}",
        "{,}",
        "{\"data\":{\"a\":01}}",
        "{\"data\":{\"a\":+1}}",
        "{\"data\":{\"a\":Infinity}}",
        "{\"data\":{\"a\":-Infinity}}",
        "{\"data\":{\"a\":.5}}",
        "{\"data\":{\"a\":-1e999}}",
    ],
)
def test_what_is_not_json_is_refused_and_not_stored(server, session_id, body):
    answer = server.post(session_id, "events", body.encode("latin-1"))
    assert words(answer) == refusal(400, "Invalid request body")
    assert server.session(session_id)["events"] == []


@pytest.mark.parametrize("operation", ["state", "events", "metrics"])
def test_an_invalid_body_is_reported_before_an_unknown_session(server, operation):
    answer = server.post("no-such-session", operation, u"{")
    assert words(answer) == refusal(400, "Invalid request body")


def test_a_record_of_one_mebibyte_comes_back_whole(server, session_id):
    text = u"\u00e9<" * (LARGE // 3)
    server.accepted(session_id, "events", {"name": "large", "data": {"text": text}})
    assert server.session(session_id)["events"][0]["data"] == {"text": text}


def test_a_session_of_many_mebibytes_comes_back_whole_and_in_order(server, session_id):
    text = "x" * (LARGE // 2)
    for number in range(6):
        server.accepted(
            session_id, "events", {"name": "large", "data": {"n": number, "text": text}}
        )
    data = [event["data"] for event in server.session(session_id)["events"]]
    assert data == [{"n": number, "text": text} for number in range(6)]


def test_one_connection_carries_every_kind_of_request(server, session_id):
    """Answers with and without bodies leave the connection usable."""
    for _ in range(3):
        server.accepted(session_id, "events", {"name": "kept alive"})
        assert server.ask("POST", "/api/sessions/%s/end" % session_id).status_code == 200
        assert server.ask("HEAD", "/api/sessions/" + session_id).status_code == 404
        assert server.ask("POST", "/api/sessions/no/state", u"{}").status_code == 404
        assert len(server.session(session_id)["id"]) == len(session_id)


def test_records_of_many_threads_arrive_in_each_threads_order(server, session_id):
    threads, each, failures = 8, 25, []

    def post(thread):
        try:
            with Server(server.url) as own:
                for number in range(each):
                    own.accepted(
                        session_id,
                        "events",
                        {"name": "thread", "data": {"thread": thread, "n": number}},
                    )
                    own.accepted(session_id, "state", {"thread": {str(thread): number}})
        except Exception as failure:
            failures.append(failure)

    started = [threading.Thread(target=post, args=(thread,)) for thread in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert failures == []
    session = server.session(session_id)
    arrived = [(event["data"]["thread"], event["data"]["n"]) for event in session["events"]]
    assert sorted(arrived) == [(t, n) for t in range(threads) for n in range(each)]
    for thread in range(threads):
        assert [n for t, n in arrived if t == thread] == list(range(each))
    assert session["state"]["thread"] == dict((str(t), each - 1) for t in range(threads))


def test_sessions_do_not_mix(server):
    first, second = server.create(), server.create()
    server.accepted(first, "events", {"name": "of the first"})
    server.accepted(second, "metrics", {"name": "of the second", "value": 1})
    server.accepted(first, "state", {"whose": "first"})
    assert [event["name"] for event in server.session(first)["events"]] == ["of the first"]
    assert server.session(second)["events"] == []
    assert "whose" not in server.session(second)["state"]


def test_the_listing_holds_every_session_as_get_answers_it(server, session_id):
    server.accepted(session_id, "events", {"name": "listed"})
    answer = server.ask("GET", server.listing)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    listed = [each for each in answer.json() if each["id"] == session_id]
    assert listed == [server.session(session_id)]


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE", "PATCH", "OPTIONS"])
def test_the_listing_answers_only_get(server, method):
    answer = server.ask(method, server.listing)
    assert answer.status_code == 405


@pytest.mark.parametrize("path", ["/health/", "/api", "/api/sessionsx", "/api/data", "/x y%2F"])
def test_a_wrong_path_is_404(server, path):
    assert words(server.ask("GET", path)) == refusal(404, "404 page not found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "DELETE", "INVENTED"])
def test_an_operation_answers_only_post(server, session_id, method):
    answer = server.ask(method, "/api/sessions/%s/events" % session_id, u"{}")
    assert words(answer) == refusal(404, "Not found")


def test_an_id_may_contain_anything(server):
    answer = server.ask("GET", "/api/sessions/%C3%A9%20%3Cid%3E")
    assert words(answer) == refusal(404, "Session not found")


def test_state_sent_after_the_end_is_merged(server, session_id):
    server.accepted(session_id, "end", u"{}")
    server.accepted(session_id, "state", {"late": True})
    session = server.session(session_id)
    assert session["state"]["late"] is True and session["active"] is False


def test_v1_opens_a_session_from_the_fields_that_fit(v1):
    answer = v1.ask(
        "POST",
        "/api/sessions",
        u'{"PRODUCT":"p","version":"1","hostname":7,"machine_id":"m"} junk',
    )
    session = v1.session(answer.json()["session_id"])
    assert "hostname" not in session and session["machine_id"] == "m"
    assert session["state"] == {"product": "p", "version": "1"}


@pytest.mark.parametrize(
    "sent, answered",
    [
        ("2026-01-02T03:04:05.120000Z", "2026-01-02T03:04:05.12Z"),
        ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.123456789999Z", "2026-01-02T03:04:05.123456789Z"),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z"),
        ("2024-02-29T23:59:59-11:30", "2024-02-29T23:59:59-11:30"),
    ],
)
def test_v1_answers_capture_times_as_they_were_sent(v1, session_id, sent, answered):
    v1.accepted(session_id, "events", {"timestamp": sent, "name": "timed"})
    v1.accepted(session_id, "metrics", {"timestamp": sent, "name": "timed", "value": 1})
    v1.accepted(session_id, "state", {"timestamp": sent, "state": {"k": 1}})
    session = v1.session(session_id)
    assert [session[kind][0]["timestamp"] for kind in ("events", "metrics", "state_history")] == [
        answered
    ] * 3


@pytest.mark.parametrize(
    "sent",
    [
        "2026-02-30T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05+0530",
        "2026-01-02T03:04Z",
        "2026-01-02t03:04:05z",
        "26-01-02T03:04:05Z",
    ],
)
def test_v1_refuses_a_time_that_is_not_rfc_3339(v1, session_id, sent):
    answer = v1.post(session_id, "events", {"timestamp": sent, "name": "timed"})
    assert words(answer) == refusal(400, "Invalid request body")


def test_v1_accepts_an_envelope_in_any_case_and_keeps_nulls_in_new_dicts(v1, session_id):
    v1.accepted(session_id, "state", u'{"State":{"new":{"gone":null,"kept":1}},"sibling":2}')
    assert v1.session(session_id)["state"] == {
        "product": "conformance",
        "version": "1",
        "new": {"gone": None, "kept": 1},
    }


def test_v1_calls_an_exception_an_error_unless_told_otherwise(v1, session_id):
    v1.accepted(session_id, "events", {"name": "a", "exception_type": "E"})
    v1.accepted(session_id, "events", {"name": "b", "exception_type": "E", "category": "info"})
    v1.accepted(session_id, "events", {"name": "c", "exception_type": "E", "category": "mine"})
    categories = [event["category"] for event in v1.session(session_id)["events"]]
    assert categories == ["error", "error", "mine"]


def test_v1_answers_all_fields_of_a_metric_in_order(v1, session_id):
    v1.accepted(
        session_id,
        "metrics",
        {
            "metadata": {"b": 1, "a": 2},
            "tags": ["t"],
            "unit": "s",
            "count": 0,
            "value": 1,
            "type": "timer",
            "name": "m",
            "timestamp": "2026-01-02T03:04:05Z",
        },
    )
    assert (
        u'"metrics":[{"timestamp":"2026-01-02T03:04:05Z","name":"m","type":"timer","value":1,'
        u'"count":0,"unit":"s","tags":["t"],"metadata":{"a":2,"b":1}}]'
    ) in v1.text(session_id)


@pytest.mark.parametrize(
    "body",
    [
        '{"count":1e2}',
        '{"count":9223372036854775808}',
        '{"count":true}',
        '{"metadata":[]}',
        '{"unit":1}',
    ],
)
def test_v1_refuses_metrics_whose_fields_are_of_another_type(v1, session_id, body):
    answer = v1.post(session_id, "metrics", body)
    assert words(answer) == refusal(400, "Invalid request body")


def test_v1_shows_hung_until_the_session_recovers_or_crashes(v1, session_id):
    seen = []
    for operation, name in [
        ("events", "application_appears_hung"),
        ("events", "application_recovered"),
        ("events", "application_appears_hung"),
        ("crash", "killed"),
    ]:
        v1.accepted(session_id, operation, {"name": name, "reason": name})
        seen.append(v1.session(session_id)["hung"])
    assert seen == [True, False, True, False]


def test_v1_refuses_a_body_that_claims_to_be_gzip_and_is_not(v1, session_id):
    answer = v1.ask(
        "POST", "/api/sessions/%s/events" % session_id, u"{}", {"Content-Encoding": "gzip"}
    )
    assert words(answer) == refusal(400, "Failed to decompress request")


@pytest.mark.parametrize(
    "operation, said",
    [("events", "Invalid request body"), ("state", "Failed to read request body")],
)
def test_v1_refuses_truncated_gzip(v1, session_id, operation, said):
    packed = zipped(json.dumps({"name": "cut", "data": {"k": "v" * 5000}}).encode("ascii"))[:-12]
    answer = v1.ask(
        "POST",
        "/api/sessions/%s/%s" % (session_id, operation),
        packed,
        {"Content-Encoding": "gzip"},
    )
    assert words(answer) == refusal(400, said)
    assert v1.session(session_id)["events"] == []


def test_classic_keeps_nulls_and_has_no_history(classic, session_id):
    classic.accepted(session_id, "state", {"a": {"b": 1}})
    classic.accepted(session_id, "state", {"a": {"b": None}, "c": None})
    session = classic.session(session_id)
    assert session["state"] == {"a": {"b": None}, "c": None}
    assert "state_history" not in session
