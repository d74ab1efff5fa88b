# -*- coding: utf-8 -*-
"""Promises of a wire call: an answer or the right error, within its bounds.  Real sockets."""

from __future__ import absolute_import, division

import contextlib
import errno
import socket
import threading

import pytest
import requests
import responses
import six
from tools.scripted_server import ScriptedServer, answer, answering, reset
from tools.waiting import PATIENCE

from datacat.errors import CutShort, NotSent, OutcomeUnknown, TlsFailure, UnexpectedAnswer
from datacat.wire import answers, calls, pools, sockets
from datacat.wire.dialects import Request

EVENT = Request("POST", "/api/sessions/1/events", b'{"name":"e","data":{}}', False)
END = Request("POST", "/api/sessions/1/end", None, False)
SESSION = Request("GET", "/api/sessions/1", None, True)


@pytest.fixture
def nobody():
    """The URL of a port that is bound, so that nobody can come to listen on it."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield "http://127.0.0.1:%d" % bound.getsockname()[1]


# What goes out, what comes back


def test_an_answer_comes_back_with_status_headers_and_body(connect):
    with ScriptedServer(answering(answer(201, b"{}", [("X-Cat", "tom")]))) as server:
        response = connect(server).call(EVENT)
    assert (response.status, response.headers["x-CAT"], response.body) == (201, "tom", b"{}")


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 407, 429, 500, 503])
def test_every_status_is_returned_and_none_raises(connect, status):
    with ScriptedServer(answering(answer(status, b""))) as server:
        assert connect(server).call(EVENT).status == status


def test_a_request_has_its_headers_and_accepts_nothing_compressed(connect):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server, api_key="hunter2")
        for request in (EVENT, END, SESSION):
            wire.call(request)
        event, end, session = server.requests
    assert (event.method, event.path, event.body) == EVENT[:3]
    assert event.headers["content-type"] == "application/json"
    assert event.headers["content-length"] == str(len(EVENT.body))
    assert event.headers["accept-encoding"] == "identity"
    assert event.headers["authorization"] == "Bearer hunter2"
    assert end.headers["content-length"] == "0"
    assert (session.method, session.body) == ("GET", b"")
    assert "content-length" not in session.headers


def test_an_encoded_body_says_so_and_no_other_does(connect):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        for encoding in ("gzip", None):
            wire.call(EVENT._replace(body=b"packed", encoding=encoding))
        packed, plain = server.requests
    assert (packed.headers["content-encoding"], packed.body) == ("gzip", b"packed")
    assert "content-encoding" not in plain.headers


def test_head_and_body_go_out_as_one_piece(connect, monkeypatch):
    pieces = []
    send = sockets.BoundedSocket.sendall

    def noting(self, data):
        pieces.append(bytes(data))
        return send(self, data)

    monkeypatch.setattr(sockets.BoundedSocket, "sendall", noting)
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        for request in (EVENT, END, SESSION, EVENT):
            wire.call(request)
    assert len(pieces) == 4
    for piece in (pieces[0], pieces[3]):
        assert piece.startswith(b"POST ") and piece.endswith(b"\r\n\r\n" + EVENT.body)


def test_a_path_prefix_and_non_ascii_bytes_arrive_unchanged(connect):
    body = u'{"a":"ä"}'.encode("utf-8")
    with ScriptedServer(answering(answer())) as server:
        connect(server.url + "/cats/", api_key=u"schlüssel").call(EVENT._replace(body=body))
        request = server.requests[0]
    assert request.path == "/cats/api/sessions/1/events"
    assert request.body == body
    assert u"Bearer schlüssel".encode("latin-1") in request.head


def test_no_cookie_is_ever_kept_or_sent_back(connect):
    with ScriptedServer(answering(answer(headers=[("Set-Cookie", "crumb=1; Path=/")]))) as server:
        wire = connect(server)
        wire.call(EVENT)
        wire.call(EVENT)
        assert "cookie" not in server.requests[1].headers


def test_redirects_are_not_followed(connect):
    with ScriptedServer(answering(answer())) as target:
        away = answer(307, b"", [("Location", target.url + "/elsewhere")])
        with ScriptedServer(answering(away)) as server:
            assert connect(server, api_key="hunter2").call(EVENT).status == 307
        assert target.connections == 0


# Connections


def test_calls_share_a_connection_whatever_the_answers(connect):
    with ScriptedServer(answering(answer(200), answer(404, b"Not found\n"), answer())) as server:
        wire = connect(server)
        for _ in range(3):
            wire.call(EVENT)
        assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_idle_for_over_20_seconds_is_not_reused(connect, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(pools, "idle_clock", lambda: now[0])
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT)
        now[0] += 19.9
        wire.call(EVENT)
        assert server.connections == 1
        now[0] += 20.1
        wire.call(EVENT)
        assert server.connections == 2


def test_a_connection_that_the_server_has_closed_is_replaced(connect):
    def one_answer_each(server, connection):
        server.read(connection)
        connection.sendall(answer(headers=[("Connection", "close")]))

    with ScriptedServer(one_answer_each) as server:
        wire = connect(server)
        assert [wire.call(EVENT).status for _ in range(3)] == [200] * 3
        assert server.connections == 3


def test_a_call_after_close_connects_again(connect):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT)
        wire.close()
        assert wire.call(EVENT).status == 200
        assert server.connections == 2


def test_threads_share_a_transport_and_get_their_own_answers(connect):
    def echo(server, connection):
        for request in server.requests_on(connection):
            connection.sendall(answer(200, request.body))

    wrong = []

    def work(wire, mark):
        for turn in range(25):
            body = b"%s-%d" % (mark, turn) if six.PY2 else ("%s-%d" % (mark, turn)).encode()
            if wire.call(EVENT._replace(body=body)).body != body:
                wrong.append(body)

    with ScriptedServer(echo) as server:
        wire = connect(server)
        threads = [threading.Thread(target=work, args=(wire, "t%d" % n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(server.requests), wrong) == (200, [])
        assert server.connections <= 8


def test_two_first_calls_at_once_share_a_connection(connect, monkeypatch):
    """The second call ends while the first still creates its requests.Session."""
    make = requests.Session

    def overtaken():
        monkeypatch.setattr(requests, "Session", make)
        assert wire.call(EVENT).status == 200
        return make()

    with ScriptedServer(answering(answer())) as server:
        monkeypatch.setattr(requests, "Session", overtaken)
        wire = connect(server)
        wire.call(EVENT)
        assert (server.connections, len(server.requests)) == (1, 2)


def test_a_closed_connection_is_kept_until_its_answer_is_read_and_no_longer():
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    bounded = sockets.BoundedSocket(ours)
    with calls.Call(5):
        reader = bounded.makefile("rb")
        bounded.close()
        theirs.sendall(b"words")
        assert reader.read(5) == b"words"
        reader.close()
    assert theirs.recv(1) == b""
    theirs.close()
    ours.close()


# Failures


def test_a_refused_connection_means_not_sent(connect, nobody):
    error = pytest.raises(NotSent, connect(nobody).call, EVENT).value
    assert nobody in str(error) and "refused" in str(error)
    assert (error.method, error.path, error.status) == ("POST", EVENT.path, None)
    assert not isinstance(error, TlsFailure)


def test_an_unknown_host_means_not_sent(connect, monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = pytest.raises(NotSent, connect("http://cats.invalid").call, EVENT).value
    assert "Name or service not known" in str(error)


@pytest.mark.parametrize(
    "retries, failures, arrives", [(2, 2, True), (2, 3, False), (0, 1, False)]
)
def test_only_connecting_is_retried_at_once(connect, monkeypatch, retries, failures, arrives):
    look_up = socket.getaddrinfo
    attempts = []

    def failing(*arguments):
        attempts.append(arguments)
        if len(attempts) <= failures:
            raise EnvironmentError(errno.ECONNREFUSED, "refused")
        return look_up(*arguments)

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server, retries)
        if arrives:
            assert wire.call(EVENT).status == 200
        else:
            pytest.raises(NotSent, wire.call, EVENT)
        assert len(server.requests) == arrives
    assert len(attempts) == retries + 1


def breaking_off(words, end):
    def play(server, connection):
        server.read(connection)
        connection.sendall(words)
        end(connection)

    return play


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "end", [reset, lambda connection: connection.close()], ids=["reset", "closed"]
)
def test_after_failed_send_any_break_leaves_the_outcome_unknown_and_is_not_repeated(
    connect, words, end
):
    with ScriptedServer(breaking_off(words, end)) as server:
        pytest.raises(OutcomeUnknown, connect(server).call, EVENT)
        assert len(server.requests) == 1


def test_headers_that_end_early_are_no_answer_that_a_dialect_takes_for_success(connect):
    cut = breaking_off(b"HTTP/1.1 200 OK\r\nContent-", lambda connection: connection.close())
    with ScriptedServer(cut) as server:
        response = connect(server).call(EVENT)
    with pytest.raises(UnexpectedAnswer):
        answers.answer(EVENT, response)


@pytest.mark.parametrize("end", [reset, lambda connection: None], ids=["reset", "stalled"])
def test_a_request_that_was_not_sent_completely_counts_as_not_sent(connect, end):
    def reading_little(server, connection):
        connection.recv(1000)
        end(connection)
        server.over.wait(PATIENCE)

    large = EVENT._replace(body=b" " * 16 * 1024 * 1024)
    with ScriptedServer(reading_little) as server:
        call = connect(server).call
        error = pytest.raises(CutShort, call, large, timeout=0.5, deadline=1.0).value
    assert "before the whole request was sent" in str(error)


@pytest.mark.parametrize(
    "raised, kind",
    [
        (requests.exceptions.ReadTimeout(), OutcomeUnknown),
        (requests.exceptions.ConnectionError(), OutcomeUnknown),
        (requests.exceptions.ChunkedEncodingError(), OutcomeUnknown),
        (requests.exceptions.ConnectTimeout(), NotSent),
        (requests.exceptions.ProxyError(), NotSent),
        (requests.exceptions.InvalidProxyURL("http://tom:jerry@"), NotSent),
        (requests.exceptions.SSLError(), TlsFailure),
        (EnvironmentError("Could not find a suitable TLS CA certificate bundle"), TlsFailure),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_without_a_socket_of_ours_the_kind_of_error_decides(connect, raised, kind):
    with responses.RequestsMock() as mock:
        mock.add(responses.POST, "http://cats" + EVENT.path, body=raised)
        error = pytest.raises(kind, connect("http://cats").call, EVENT).value
    assert type(error) is kind
    assert "jerry" not in str(error)


class CannotOverwrite(Exception):
    """As vcrpy raises for a request that is not on its cassette."""

    __module__ = "vcr.errors"


@pytest.mark.parametrize(
    "raised, kind", [(CannotOverwrite("no"), NotSent), (KeyError(), KeyError)]
)
def test_what_a_stand_in_for_requests_raises_is_a_failed_request_but_no_bug_of_ours(
    connect, monkeypatch, raised, kind
):
    def refuse(*_, **__):
        raise raised

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", refuse)
    error = pytest.raises(kind, connect("http://cats").call, EVENT).value
    assert "no" in str(error) or kind is KeyError


def test_attempts_to_connect_stay_out_of_the_applications_log(caplog, connect, nobody):
    """The sender warns once; urllib3 would warn at each attempt."""
    with caplog.at_level("WARNING"), pytest.raises(NotSent):
        connect(nobody).call(SESSION)
    assert caplog.records == []
