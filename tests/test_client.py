# -*- coding: utf-8 -*-
"""Promises of DatacatClient: the server's JSON or the right error, retried only if safe."""

from __future__ import absolute_import, division

import json
import logging
import re
import threading

import pytest
import requests
import responses
import six

from datacat import client as client_module
from datacat import settings
from datacat.client import DatacatClient
from datacat.errors import (
    InvalidArgument,
    InvalidSettings,
    NotAuthorized,
    NotSent,
    OperationUnknown,
    OutcomeUnknown,
    Redirected,
    RequestRefused,
    ServerBusy,
    ServerFault,
    SessionNotFound,
    UnexpectedAnswer,
)

URL = "http://cats.example:8080"
OK = {"status": "ok"}
HEALTHY = {"service": "datacat-server", "status": "healthy", "version": "1.0.0"}
CLASSIC_SESSION = {"id": "s", "active": True, "state": {}, "events": [], "metrics": []}
V1_SESSION = dict(CLASSIC_SESSION, suspended=False, crashed=False, hung=False, state_history=[])


class FakeTime(object):
    """Time that passes only by sleeping, and remembers it."""

    def __init__(self):
        self.now = 1700000000.0
        self.slept = []

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(client_module, "time", fake)
    monkeypatch.setattr(client_module, "monotonic", fake.time)
    return fake


@pytest.fixture
def mock(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as active:
        yield active


class Server(object):
    """The mock, spoken to in this file's words."""

    def __init__(self, mock):
        self._mock = mock

    def says(self, method, path, answer, status=200, headers=None):
        kind = "application/json"
        if isinstance(answer, six.string_types):
            kind = "text/plain; charset=utf-8"
        elif not isinstance(answer, Exception):
            answer = json.dumps(answer)
        self._mock.add(
            method, URL + path, body=answer, status=status, content_type=kind, headers=headers
        )
        return self

    def is_v1(self):
        return self.says("GET", "/health", HEALTHY)

    def is_classic(self):
        self.says("GET", "/health", "404 page not found\n", 404)
        return self.says("GET", "/api/sessions/s", CLASSIC_SESSION)

    def asked(self, path=""):
        """Return the paths of the requests so far that end so."""
        paths = [call.request.url[len(URL) :] for call in self._mock.calls]
        return [each for each in paths if each.endswith(path)]

    def last_body(self):
        return json.loads(six.ensure_text(self._mock.calls[-1].request.body))

    def last_body_without_time(self):
        """Check its time, but for the three digits that are drawn, and return the rest."""
        body = self.last_body()
        assert re.match(r"2023-11-14T22:13:20(\.000000\d{1,3})?Z$", body.pop("timestamp"))
        return body


@pytest.fixture
def server(mock):
    return Server(mock)


@pytest.fixture
def client(clock):
    with DatacatClient(URL, product="shop", version="7") as made:
        yield made


# Against real servers of both generations


def test_all_operations_work_against_a_real_server(any_collector):
    with DatacatClient(any_collector.url, product="shop", version="7") as client:
        session_id = client.create_session()
        assert isinstance(session_id, six.text_type)
        assert client.update_state(session_id, {"a": {"b": 1}}) == OK
        assert client.update_state(session_id, {"a": {"c": 2}}) == OK
        assert client.log_event(session_id, "user_login", {"user": u"älice"}) == OK
        assert client.log_metric(session_id, "cpu_usage", 45.2, tags=["app:myapp"]) == OK
        try:
            raise KeyError("whiskers")
        except KeyError:
            assert client.log_exception(session_id, extra_data={"context": "test"}) == OK
        held = client.get_session(session_id)
        assert client.end_session(session_id) == OK
        ended = client.get_session(session_id)
    assert held["state"]["a"] == {"b": 1, "c": 2}
    login, exception = held["events"]
    assert (login["name"], login["data"]) == ("user_login", {"user": u"älice"})
    assert exception["data"]["type"] == "KeyError"
    assert exception["data"]["context"] == "test"
    assert "whiskers" in exception["data"]["traceback"]
    metric = held["metrics"][0]
    assert (metric["name"], metric["value"], metric["tags"]) == ("cpu_usage", 45.2, ["app:myapp"])
    assert (held["active"], ended["active"]) == (True, False)


def test_what_is_large_arrives_whole_at_a_real_server(any_collector):
    """v1 gets it as gzip, which a classic server would refuse."""
    text = u"ä lòt of text, " * 1000
    with DatacatClient(any_collector.url) as client:
        session_id = client.create_session()
        assert client.update_state(session_id, {"text": text}) == OK
        assert client.log_event(session_id, "large", {"text": text}) == OK
        held = client.get_session(session_id)
    assert held["state"]["text"] == text
    assert held["events"][0]["data"] == {"text": text}


def test_all_sessions_are_listed_by_a_real_server(any_collector):
    with DatacatClient(any_collector.url) as client:
        made = {client.create_session(), client.register_session("other", "8")}
        assert made <= {session["id"] for session in client.get_all_sessions()}


def test_a_session_that_a_real_server_does_not_know_is_not_found(any_collector):
    with DatacatClient(any_collector.url) as client:
        for operation in (
            lambda: client.get_session("none"),
            lambda: client.log_event("none", "e"),
            lambda: client.end_session("none"),
        ):
            with pytest.raises(SessionNotFound) as caught:
                operation()
            assert caught.value.status == 404
            assert caught.value.words.lower().strip() == "session not found"


def test_threads_share_a_client(any_collector):
    with DatacatClient(any_collector.url) as client:
        session_id = client.create_session()

        def work(mark):
            for number in range(5):
                client.log_event(session_id, "e", {"mark": "%d-%d" % (mark, number)})

        threads = [threading.Thread(target=work, args=(mark,)) for mark in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        marks = [event["data"]["mark"] for event in client.get_session(session_id)["events"]]
    assert sorted(marks) == sorted("%d-%d" % (m, n) for m in range(6) for n in range(5))


def test_a_real_server_refuses_a_wrong_key_and_takes_the_right_one(make_collector):
    with make_collector(api_key="hunter2-hunter2").start() as collector:
        with pytest.raises(NotAuthorized) as caught:
            DatacatClient(collector.url, api_key="wrong").create_session()
        assert (caught.value.status, caught.value.words) == (401, "Unauthorized")
        with DatacatClient(collector.url, api_key="hunter2-hunter2") as client:
            assert client.log_event(client.create_session(), "e") == OK


# What is sent


def test_a_session_is_created_with_the_settings_product_and_version(server, client):
    server.says("POST", "/api/sessions", {"session_id": "s"})
    assert client.create_session() == "s"
    assert server.last_body() == {"product": "shop", "version": "7"}
    client.create_session("till", "8")
    assert server.last_body() == {"product": "till", "version": "8"}


def test_hostname_and_machine_id_are_sent_only_when_they_are_given(server, clock):
    server.says("POST", "/api/sessions", {"session_id": "s"})
    DatacatClient(URL, product="p", hostname="h", machine_id="m").create_session()
    assert server.last_body() == {
        "product": "p",
        "version": "unknown",
        "hostname": "h",
        "machine_id": "m",
    }


def test_the_id_of_a_created_session_may_be_called_id_and_the_status_be_201(server, client):
    server.says("POST", "/api/sessions", {"id": "s"}, 201)
    assert client.create_session() == "s"


def test_a_v1_server_gets_times_extras_and_the_states_envelope(server, client):
    server.is_v1()
    for operation in ("events", "metrics", "state"):
        server.says("POST", "/api/sessions/s/" + operation, {"success": True})
    assert client.log_event("s", "e", {"k": 1}, category="warning", labels=["a"], message="m") == {
        "success": True
    }
    assert server.last_body_without_time() == {
        "name": "e",
        "data": {"k": 1},
        "category": "warning",
        "labels": ["a"],
        "message": "m",
    }
    client.log_metric("s", "m", 2, unit="seconds", type="timer")
    assert server.last_body()["unit"] == "seconds"
    client.update_state("s", {"state": 1})
    assert server.last_body_without_time() == {"state": {"state": 1}}


def test_a_classic_server_gets_the_plain_state(server, client):
    server.is_classic().says("POST", "/api/sessions/s/state", OK)
    client.update_state("s", {"a": None})
    assert server.last_body() == {"a": None}


def test_before_record_changes_and_drops_what_is_sent(server, clock):
    def redact(kind, fields):
        assert kind == "event"
        return None if fields["name"] == "secret" else dict(fields, data={"k": "***"})

    server.is_v1().says("POST", "/api/sessions/s/events", OK)
    server.says("POST", "/api/sessions/s/end", OK)
    client = DatacatClient(URL, before_record=redact)
    assert client.log_event("s", "secret", {"k": "hunter2"}) is None
    assert server.asked() == []
    assert client.log_event("s", "e", {"k": "hunter2"}) == OK
    assert server.last_body()["data"] == {"k": "***"}
    assert client.end_session("s") == OK


@pytest.mark.parametrize("broken", [lambda kind, fields: "text", lambda kind, fields: 1 / 0])
def test_a_record_whose_before_record_fails_is_not_sent(server, broken, caplog):
    client = DatacatClient(URL, before_record=broken)
    assert client.log_event("s", "e", {"k": "hunter2"}) is None
    assert server.asked() == [] and "the event is dropped" in caplog.text


def test_a_client_opens_a_session_whatever_its_before_record_does(server, caplog):
    """What the server needs is sent; what may have to be hidden is not."""
    server.is_v1().says("POST", "/api/sessions", {"session_id": "s"})
    client = DatacatClient(URL, hostname="alice-laptop", before_record=lambda kind, fields: 1 / 0)
    assert client.create_session("p", "1") == "s"
    assert server.last_body() == {"product": "p", "version": "1"}
    assert "the open says only what the server needs" in caplog.text


def test_a_log_handler_that_uses_a_client_is_not_called_for_its_own_requests(collector):
    """At DEBUG, urllib3 logs each request; that would need another request, and so on."""
    client = DatacatClient(collector.url)
    session_id = client.register_session("p", "1")

    class ToDatacat(logging.Handler):
        def emit(self, record):
            client.log_event(session_id, "logged", {"logger": record.name})

    handler, root = ToDatacat(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        logging.getLogger("application").warning("once")
        client.log_metric(session_id, "m", 1)
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
    loggers = [event["data"]["logger"] for event in client.get_session(session_id)["events"]]
    assert loggers == ["application"]
    assert logging.getLogger("urllib3.connectionpool").filter(
        logging.makeLogRecord({"name": "urllib3.connectionpool"})
    ), "the application's own requests must still be logged"


def test_an_id_is_percent_encoded_into_the_path(server, client):
    server.says("GET", "/api/sessions/a%2Fb%3Fc", dict(CLASSIC_SESSION, id="a/b?c"))
    assert client.get_session("a/b?c")["id"] == "a/b?c"


@pytest.mark.parametrize("wrong", ["", ".", "..", None, 7])
def test_what_cannot_be_an_id_is_refused_before_anything_is_sent(mock, client, wrong):
    with pytest.raises(InvalidArgument):
        client.get_session(wrong)
    assert len(mock.calls) == 0


@pytest.mark.parametrize(
    "wrong", ["x", -1, float("nan"), 10**400, [1]], ids=["text", "negative", "nan", "huge", "list"]
)
def test_a_timeout_that_is_none_is_refused_before_anything_is_sent(mock, client, wrong):
    with pytest.raises(InvalidArgument, match="timeout"):
        client.get_session("s", timeout=wrong)
    assert len(mock.calls) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.log_event("s", ""),
        lambda client: client.log_metric("s", "m", float("nan")),
        lambda client: client.update_state("s", ["not a dict"]),
        lambda client: client.log_event("s", "e", {"x": "y" * 2**20}),
    ],
    ids=["name", "value", "state", "size"],
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_sent(mock, client, call):
    with pytest.raises(InvalidArgument):
        call(client)
    assert len(mock.calls) == 0


# The generations


def test_the_generation_is_asked_for_once(server, client):
    server.is_classic().says("POST", "/api/sessions/s/events", OK)
    for _ in range(3):
        client.log_event("s", "e")
    assert len(server.asked("/health")) == len(server.asked("/s")) == 1


def test_a_v1_server_behind_something_that_hides_health_is_known_by_a_session(server, client):
    server.says("GET", "/health", "Forbidden\n", 403)
    server.says("GET", "/api/sessions/s", V1_SESSION)
    server.says("POST", "/api/sessions/s/events", OK)
    client.log_event("s", "e")
    assert "timestamp" in server.last_body()


def test_a_server_that_is_busy_is_not_taken_for_a_classic_one(server, client):
    server.says("GET", "/health", "busy\n", 503)
    with pytest.raises(ServerBusy):
        client.log_event("s", "e")
    assert set(server.asked()) == {"/health"}


def test_after_an_outage_the_generation_is_asked_for_again(server, client):
    server.is_v1()
    server.says("POST", "/api/sessions/s/events", OK)
    server.says("POST", "/api/sessions/s/events", requests.exceptions.ConnectTimeout())
    server.says("POST", "/api/sessions/s/events", OK)
    for _ in range(3):
        client.log_event("s", "e")
    assert len(server.asked("/health")) == 2


@pytest.mark.parametrize(
    "generation, path",
    [
        ("is_v1", "/api/data/sessions"),
        ("is_classic", "/api/grafana/sessions"),
    ],
)
def test_all_sessions_are_asked_for_where_the_generation_has_them(
    server, client, generation, path
):
    getattr(server, generation)()
    server.says("GET", path, [CLASSIC_SESSION])
    assert client.get_all_sessions() == [CLASSIC_SESSION]
    assert server.asked()[-1] == path


def test_all_sessions_are_found_on_a_v1_server_whose_health_is_hidden(server, client):
    server.says("GET", "/health", "404 page not found\n", 404)
    server.says("GET", "/api/grafana/sessions", "404 page not found\n", 404)
    server.says("GET", "/api/data/sessions", [])
    assert client.get_all_sessions() == []


# Failures, and what is tried again


@pytest.mark.parametrize(
    "status, words, kind",
    [
        (302, "", Redirected),
        (400, "Invalid request body\n", RequestRefused),
        (401, "Unauthorized\n", NotAuthorized),
        (403, "no\n", NotAuthorized),
        (404, "session not found\n", SessionNotFound),
        (404, "Not found\n", OperationUnknown),
        (405, "Method not allowed\n", OperationUnknown),
        (503, "busy\n", ServerBusy),
        (500, "broken\n", ServerFault),
        (200, "<html>log in</html>", UnexpectedAnswer),
    ],
)
def test_a_write_that_may_not_be_repeated_fails_at_once_with_all_that_is_known(
    server, client, clock, status, words, kind
):
    server.is_v1().says("POST", "/api/sessions/s/events", words, status)
    with pytest.raises(kind) as caught:
        client.log_event("s", "e")
    error = caught.value
    assert (error.method, error.path, error.status) == ("POST", "/api/sessions/s/events", status)
    assert error.words == words.strip()
    assert len(server.asked("/events")) == 1
    assert clock.slept == []


def test_an_event_without_an_answer_is_not_repeated(server, client):
    server.is_v1()
    server.says("POST", "/api/sessions/s/events", requests.exceptions.ReadTimeout())
    with pytest.raises(OutcomeUnknown):
        client.log_event("s", "e")
    assert len(server.asked("/events")) == 1


@pytest.mark.parametrize(
    "failing",
    [
        (requests.exceptions.ConnectTimeout(), 200),
        (requests.exceptions.ReadTimeout(), 200),
        ("broken\n", 500),
        ("busy\n", 503),
        ("gateway\n", 502),
        ("<html>log in</html>", 200),
    ],
    ids=repr,
)
def test_reading_and_updating_state_are_retried(server, client, clock, failing):
    server.is_v1()
    for method, path, answer in (
        ("GET", "/api/sessions/s", V1_SESSION),
        ("POST", "/api/sessions/s/state", OK),
    ):
        server.says(method, path, *failing)
        server.says(method, path, answer)
    assert client.get_session("s") == V1_SESSION
    assert client.update_state("s", {"a": 1}) == OK
    assert len(clock.slept) == 2


def test_every_operation_that_was_never_sent_is_retried(server, client, clock):
    server.says("POST", "/api/sessions", requests.exceptions.ConnectTimeout())
    server.says("POST", "/api/sessions", {"session_id": "s"})
    assert client.create_session() == "s"
    assert len(clock.slept) == 1


def test_retries_end_after_four_attempts_with_the_last_error(server, client, clock):
    server.says("POST", "/api/sessions", requests.exceptions.ConnectTimeout())
    with pytest.raises(NotSent):
        client.create_session()
    assert len(server.asked()) == 4
    assert len(clock.slept) == 3
    assert all(0.05 <= pause <= 2.0 for pause in clock.slept)


def test_an_untrusted_certificate_is_not_retried(server, client, clock):
    server.says("POST", "/api/sessions", requests.exceptions.SSLError())
    with pytest.raises(NotSent):
        client.create_session()
    assert (len(server.asked()), clock.slept) == (1, [])


def test_retry_after_is_waited_for_exactly(server, client, clock):
    server.says("GET", "/api/sessions/s", "busy\n", 503, {"Retry-After": "7"})
    server.says("GET", "/api/sessions/s", V1_SESSION)
    client.get_session("s")
    assert clock.slept == [7.0]


def test_a_wait_that_would_pass_the_deadline_is_not_begun(server, client, clock):
    server.says("GET", "/api/sessions/s", "busy\n", 503, {"Retry-After": "31"})
    with pytest.raises(ServerBusy) as caught:
        client.get_session("s")
    assert caught.value.retry_after == 31.0
    assert clock.slept == []


# The rest


def test_before_write_is_called_before_each_write_and_no_read(server, client):
    """Before: what must be on disk when the request is out cannot be written after it."""
    told = []
    client.before_write = lambda session_id: told.append((session_id, server.asked("/events")))
    server.is_v1()
    server.says("POST", "/api/sessions/s/events", "broken\n", 500)
    server.says("POST", "/api/sessions/s/end", OK)
    server.says("GET", "/api/sessions/s", V1_SESSION)
    with pytest.raises(ServerFault):
        client.log_event("s", "e")
    client.end_session("s")
    client.get_session("s")
    assert told == [("s", []), ("s", ["/api/sessions/s/events"])]


def test_a_client_with_invalid_settings_cannot_be_made():
    with pytest.raises(InvalidSettings):
        DatacatClient("cats.example:8080")
    with pytest.raises(TypeError):
        DatacatClient(URL, timout=3)


def test_a_client_takes_ready_settings_unchanged():
    ready = settings.resolve(URL, product="shop")
    assert DatacatClient(ready).settings is ready


def test_reading_a_session_takes_no_longer_than_it_was_given(server, client, clock):
    server.says("GET", "/api/sessions/s", "busy\n", 503, {"Retry-After": "3"})
    with pytest.raises(ServerBusy):
        client.get_session("s", timeout=3)
    assert clock.slept == []


def test_a_disabled_client_sends_nothing_and_never_fails(mock, monkeypatch):
    monkeypatch.setenv("DATACAT_DISABLED", "1")
    client = DatacatClient(URL)
    session_id = client.create_session()
    client.update_state(session_id, {"a": 1})
    client.log_event(session_id, "e")
    client.log_metric(session_id, "m", 1)
    client.end_session(session_id)
    assert client.get_session(session_id)["id"] == session_id
    assert client.get_all_sessions() == []
    assert len(mock.calls) == 0


def test_the_key_is_in_no_repr():
    client = DatacatClient(URL, api_key="hunter2")
    assert repr(client) == "<DatacatClient %s>" % URL
    assert "hunter2" not in repr(vars(client))
