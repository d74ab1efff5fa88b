# -*- coding: utf-8 -*-
"""Promises of a wire call: an answer, or the right error, within its bounds. Real sockets."""

from __future__ import absolute_import, division

import errno
import os
import signal
import socket
import threading

import pytest
import requests
import responses
import six
from tools.scripted_server import ScriptedServer, answer, answering, reset

from datacat import settings
from datacat._compat import monotonic
from datacat.errors import NotSent, OutcomeUnknown, TlsFailure, UnexpectedAnswer
from datacat.wire import answers, sockets, transport
from datacat.wire.dialects import Request

EVENT = Request("POST", "/api/sessions/1/events", b'{"name":"e","data":{}}', False)
END = Request("POST", "/api/sessions/1/end", None, False)
SESSION = Request("GET", "/api/sessions/1", None, True)
SLACK = 0.5


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy of whoever runs the tests stands between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def connect():
    made = []

    def make(server, retries=2, **options):
        url = server if isinstance(server, six.string_types) else server.url
        made.append(transport.Transport(settings.resolve(url, **options), retries))
        return made[-1]

    yield make
    for each in made:
        each.close()


def free_port():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    return port


def failure(kind, function, *arguments, **options):
    """Return the error that a call ends with, and the seconds that it took."""
    started = monotonic()
    with pytest.raises(kind) as caught:
        function(*arguments, **options)
    return caught.value, monotonic() - started


# What goes out, what comes back


def test_an_answer_comes_back_with_status_headers_and_body(connect):
    with ScriptedServer(answering(answer(201, b"{}", [("X-Cat", "tom")]))) as server:
        response = connect(server).call(EVENT)
    assert (response.status, response.headers["x-CAT"], response.body) == (201, "tom", b"{}")


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 407, 429, 500, 503])
def test_every_status_is_an_answer_and_none_an_error(connect, status):
    with ScriptedServer(answering(answer(status, b""))) as server:
        assert connect(server).call(EVENT).status == status


def test_a_request_says_what_it_must_and_asks_for_nothing_compressed(connect):
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


def test_a_path_prefix_in_the_base_url_and_bytes_beyond_ascii_arrive_as_they_are(connect):
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
    assert len(wire._wires[os.getpid()].session.cookies) == 0


def test_redirects_are_not_followed(connect):
    with ScriptedServer(answering(answer())) as target:
        away = answer(307, b"", [("Location", target.url + "/elsewhere")])
        with ScriptedServer(answering(away)) as server:
            assert connect(server, api_key="hunter2").call(EVENT).status == 307
        assert target.connections == 0


# Connections


def test_calls_share_a_connection_whatever_was_answered(connect):
    with ScriptedServer(answering(answer(200), answer(404, b"Not found\n"), answer())) as server:
        wire = connect(server)
        for _ in range(3):
            wire.call(EVENT)
        assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_that_was_idle_over_20_seconds_is_not_used_again(connect, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(sockets, "_clock", lambda: now[0])
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT)
        now[0] += 19.9
        wire.call(EVENT)
        assert server.connections == 1
        now[0] += 20.1
        wire.call(EVENT)
        assert server.connections == 2


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(connect):
    def one_answer_each(server, connection):
        server.read(connection)
        connection.sendall(answer(headers=[("Connection", "close")]))

    with ScriptedServer(one_answer_each) as server:
        wire = connect(server)
        assert [wire.call(EVENT).status for _ in range(3)] == [200] * 3
        assert server.connections == 3


def test_after_close_a_call_connects_anew(connect):
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


def test_two_threads_that_come_first_together_get_one_session(connect, monkeypatch):
    wire = connect("http://cats")
    make = transport._Wire
    other_threads = []

    def overtaken(*arguments):
        monkeypatch.setattr(transport, "_Wire", make)
        other_threads.append(wire._wire_of_this_process())
        return make(*arguments)

    monkeypatch.setattr(transport, "_Wire", overtaken)
    assert wire._wire_of_this_process() is other_threads[0]


def test_a_closed_connection_is_kept_until_its_answer_is_read_and_no_longer():
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    bounded = sockets.BoundedSocket(ours)
    with sockets.Call(5):
        reader = bounded.makefile("rb")
        bounded.close()
        theirs.sendall(b"words")
        assert reader.read(5) == b"words"
        reader.close()
    assert theirs.recv(1) == b""
    theirs.close()
    ours.close()


# Bounds


def dripping(head, body=b"", interval=0.02):
    def play(server, connection):
        server.read(connection)
        connection.sendall(head)
        server.drip(connection, body, interval)

    return play


@pytest.mark.parametrize(
    "head, dripped",
    [
        (b"", answer(headers=[("X-%d" % n, "y" * 60) for n in range(9)])),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b" " * 5000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n" * 900),
        (b"HTTP/1.0 200 OK\r\n\r\n", b" " * 5000),
        (b"HTTP/1.1 404 No\r\nContent-Length: 5000\r\n\r\n", b" " * 5000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 200),
    ],
    ids=["headers", "body", "chunks", "body without length", "error body", "continue"],
)
def test_a_dripped_answer_ends_at_the_total_deadline(connect, head, dripped):
    with ScriptedServer(dripping(head, dripped)) as server:
        error, took = failure(OutcomeUnknown, connect(server).call, EVENT, deadline=0.4)
    assert 0.4 <= took < 0.4 + SLACK
    assert "total deadline of 0.4 s" in str(error)


def test_the_deadline_holds_on_a_connection_that_is_used_again(connect):
    def first_well_then_dripping(server, connection):
        for number, _ in enumerate(server.requests_on(connection)):
            if number == 0:
                connection.sendall(answer())
            else:
                server.drip(connection, answer(body=b" " * 5000))

    with ScriptedServer(first_well_then_dripping) as server:
        wire = connect(server)
        wire.call(EVENT, deadline=5)
        _, took = failure(OutcomeUnknown, wire.call, EVENT, deadline=0.4)
        assert server.connections == 1
    assert took < 0.4 + SLACK


def test_silence_ends_a_call_before_its_deadline(connect):
    with ScriptedServer(lambda server, _: server.over.wait(20)) as server:
        error, took = failure(OutcomeUnknown, connect(server, timeout=0.3).call, EVENT)
    assert 0.3 <= took < 0.3 + SLACK
    assert "nothing came for 0.3" in str(error)


def test_bounds_grow_with_the_body_but_only_those_of_the_settings():
    allowance = transport.Transport.allowance
    assert allowance(None) == allowance(b"") == 0
    assert allowance(b" " * 1024 * 1024) == 128


def test_a_large_body_may_take_longer_than_the_settings_say(connect):
    def slow(server, connection):
        server.read(connection)
        server.over.wait(0.5)
        connection.sendall(answer())

    large = EVENT._replace(body=b" " * 16 * 1024)
    with ScriptedServer(slow) as server:
        wire = connect(server, timeout=0.2, deadline=0.3)
        assert wire.call(large).status == 200
        failure(OutcomeUnknown, wire.call, EVENT)
        failure(OutcomeUnknown, wire.call, large, timeout=0.2)


def test_an_answer_of_exactly_the_limit_is_read_and_one_byte_more_is_not(connect):
    with ScriptedServer(answering(answer(body=b"x" * 100), answer(body=b"x" * 101))) as server:
        wire = connect(server)
        assert wire.call(EVENT, limit=100).body == b"x" * 100
        error, _ = failure(OutcomeUnknown, wire.call, EVENT, limit=100)
    assert "limit of 100 bytes" in str(error)
    assert error.status == 200


def endless(head):
    def play(server, connection):
        server.read(connection)
        connection.sendall(head)
        while not server.over.is_set():
            connection.sendall(b" " * 65536)

    return play


def test_an_endless_answer_ends_at_64_kib(connect):
    with ScriptedServer(endless(b"HTTP/1.1 200 OK\r\n\r\n")) as server:
        error, took = failure(OutcomeUnknown, connect(server).call, EVENT)
    assert "limit of 65536 bytes" in str(error)
    assert took < 5


def test_an_endless_redirect_is_cut_and_nobody_goes_where_it_points(connect):
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"
    with ScriptedServer(endless(head)) as server:
        response = connect(server).call(EVENT)
        assert len(server.requests) == 1
    assert (response.status, len(response.body)) == (302, 65536)


def test_without_a_limit_a_large_answer_is_read_whole(connect):
    with ScriptedServer(answering(answer(body=b"x" * 300000))) as server:
        assert len(connect(server).call(SESSION, limit=None).body) == 300000


def test_the_words_of_an_error_status_are_cut_at_the_limit_and_the_status_is_kept(connect):
    with ScriptedServer(answering(answer(503, b"x" * 1000), answer())) as server:
        wire = connect(server)
        assert wire.call(EVENT, limit=100)[::2] == (503, b"x" * 100)
        assert wire.call(EVENT).status == 200


def test_all_addresses_of_a_name_share_the_deadline(connect, monkeypatch):
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = []
    for _ in range(4):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(full.getsockname())
    address = socket.getaddrinfo("127.0.0.1", full.getsockname()[1], 0, socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: address * 4)
    wire = connect("http://127.0.0.1:%d" % full.getsockname()[1])
    _, took = failure(NotSent, wire.call, EVENT, timeout=0.3, deadline=0.5)
    for each in [full] + waiting:
        each.close()
    assert 0.5 <= took < 0.5 + SLACK


# Streaming


def test_a_streamed_answer_comes_in_pieces_and_memory_keeps_none(connect):
    pieces = []
    with ScriptedServer(answering(answer(body=b"x" * 200000), answer())) as server:
        wire = connect(server)
        response = wire.call(SESSION, limit=None, on_chunk=lambda piece: pieces.append(piece))
        wire.call(EVENT)
        assert server.connections == 1
    assert (response.status, response.body) == (200, b"")
    assert b"".join(pieces) == b"x" * 200000
    assert max(map(len, pieces)) <= 65536


def test_a_stream_stops_when_it_is_told_to_and_its_connection_is_not_used_again(connect):
    pieces = []
    with ScriptedServer(answering(answer(body=b"x" * 10**6), answer())) as server:
        wire = connect(server)
        wire.call(SESSION, limit=None, on_chunk=lambda piece: pieces.append(piece) or True)
        assert wire.call(EVENT).status == 200
        assert server.connections == 2
    assert len(pieces) == 1


def test_a_stream_keeps_limit_and_deadline_too(connect):
    ignore = [].append
    with ScriptedServer(answering(answer(body=b"x" * 300000))) as server:
        error, _ = failure(
            OutcomeUnknown, connect(server).call, SESSION, limit=200000, on_chunk=ignore
        )
    assert "limit of 200000" in str(error)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    with ScriptedServer(dripping(head, b" " * 5000)) as server:
        _, took = failure(
            OutcomeUnknown, connect(server).call, SESSION, deadline=0.4, on_chunk=ignore
        )
    assert took < 0.4 + SLACK


def test_an_error_status_is_not_streamed_but_returned_with_its_words(connect):
    pieces = []
    with ScriptedServer(answering(answer(404, b"Session not found\n"))) as server:
        response = connect(server).call(SESSION, on_chunk=pieces.append)
    assert (response.status, response.body, pieces) == (404, b"Session not found\n", [])


def test_what_the_reader_of_a_stream_raises_is_not_taken_for_the_servers_fault(connect):
    def reader(_):
        raise ValueError("mine")

    with ScriptedServer(answering(answer(body=b"x"))) as server:
        error, _ = failure(ValueError, connect(server).call, SESSION, on_chunk=reader)
    assert str(error) == "mine"


def test_a_call_within_a_call_leaves_the_outer_ones_deadline_alone(connect):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with ScriptedServer(answering(answer())) as inner_server:
        inner = connect(inner_server)
        first = head + b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with ScriptedServer(dripping(first, b"1\r\n{\r\n" * 900)) as server:
            _, took = failure(
                OutcomeUnknown,
                connect(server).call,
                SESSION,
                limit=None,
                deadline=0.4,
                on_chunk=lambda _: inner.call(EVENT, deadline=9) is None,
            )
        assert len(inner_server.requests) == 1
    assert took < 0.4 + SLACK


# Failures


def test_where_nothing_listens_nothing_was_sent(connect):
    url = "http://127.0.0.1:%d" % free_port()
    error, _ = failure(NotSent, connect(url).call, EVENT)
    assert url in str(error) and "refused" in str(error)
    assert (error.method, error.path, error.status) == ("POST", EVENT.path, None)
    assert not isinstance(error, TlsFailure)


def test_a_name_without_address_is_not_sent(connect, monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error, _ = failure(NotSent, connect("http://cats.invalid").call, EVENT)
    assert "Name or service not known" in str(error)


@pytest.mark.parametrize(
    "retries, failures, arrives", [(2, 2, True), (2, 3, False), (0, 1, False)]
)
def test_only_connecting_is_tried_again_at_once(connect, monkeypatch, retries, failures, arrives):
    dial = sockets._Dialing._dial
    dialed = []

    def failing(self, call):
        dialed.append(1)
        if len(dialed) <= failures:
            raise EnvironmentError(errno.ECONNREFUSED, "refused")
        return dial(self, call)

    monkeypatch.setattr(sockets._Dialing, "_dial", failing)
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server, retries)
        if arrives:
            assert wire.call(EVENT).status == 200
        else:
            failure(NotSent, wire.call, EVENT)
        assert len(server.requests) == arrives
    assert len(dialed) == retries + 1


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
        failure(OutcomeUnknown, connect(server).call, EVENT)
        assert len(server.requests) == 1


def test_headers_that_end_early_are_no_answer_that_a_dialect_takes_for_success(connect):
    cut = breaking_off(b"HTTP/1.1 200 OK\r\nContent-", lambda connection: connection.close())
    with ScriptedServer(cut) as server:
        response = connect(server).call(EVENT)
    with pytest.raises(UnexpectedAnswer):
        answers.answer(EVENT, response)


@pytest.mark.parametrize("end", [reset, lambda connection: None], ids=["reset", "stalled"])
def test_a_request_that_did_not_get_out_whole_was_not_sent(connect, end):
    def reading_little(server, connection):
        connection.recv(1000)
        end(connection)
        server.over.wait(20)

    large = EVENT._replace(body=b" " * 16 * 1024 * 1024)
    with ScriptedServer(reading_little) as server:
        error, took = failure(NotSent, connect(server).call, large, timeout=0.5, deadline=1.0)
    assert "before the request was out" in str(error)
    assert took < 1.0 + SLACK


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
def test_where_no_socket_of_ours_was_reached_the_kind_of_error_decides(connect, raised, kind):
    with responses.RequestsMock() as mock:
        mock.add(responses.POST, "http://cats" + EVENT.path, body=raised)
        error, _ = failure(kind, connect("http://cats").call, EVENT)
    assert type(error) is kind
    assert "jerry" not in str(error)


# Fork

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(function):
    """Run a function in a forked child and return whether it returned True in time."""
    child = os.fork()
    if child == 0:
        verdict = 1
        try:
            signal.alarm(10)
            verdict = 0 if function() is True else 1
        finally:
            os._exit(verdict)
    return os.waitpid(child, 0)[1] == 0


@forks
def test_a_forked_child_connects_by_itself_and_leaves_its_parents_connection_usable(connect):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT)

        def child():
            return wire.call(EVENT).status == 200 and wire.close() is None

        assert in_child(child)
        assert server.connections == 2
        assert wire.call(EVENT).status == 200
        assert server.connections == 2


@forks
def test_a_forked_child_never_waits_for_a_lock_of_its_parents_session(connect):
    held, over = threading.Event(), threading.Event()

    def hold(lock):
        with lock:
            held.set()
            over.wait(20)

    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT)
        pools = wire._wires[os.getpid()].session.get_adapter(server.url).poolmanager.pools
        holder = threading.Thread(target=hold, args=(pools.lock,))
        holder.start()
        held.wait(20)
        try:
            assert in_child(lambda: wire.call(EVENT).status == 200)
        finally:
            over.set()
            holder.join()


@forks
def test_a_forked_child_never_waits_for_a_lock_of_its_parents_pool():
    inherited = sockets._OwnersQueue()
    inherited.put("connection")

    def child():
        try:
            inherited.get(block=False)
        except six.moves.queue.Empty:
            return True

    with inherited.mutex:
        assert in_child(child)
    assert inherited.get(block=False) == "connection"


def test_attempts_to_connect_stay_out_of_the_applications_log(caplog, connect):
    """What the sender says once, urllib3 must not say twice a backoff."""
    away = connect("http://127.0.0.1:%d" % free_port())
    with caplog.at_level("WARNING"), pytest.raises(NotSent):
        away.call(SESSION)
    assert caplog.records == []


def test_the_attempts_of_others_to_connect_stay_in_the_log(caplog):
    with requests.Session() as session, caplog.at_level("WARNING"):
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=1))
        with pytest.raises(requests.ConnectionError):
            session.get("http://127.0.0.1:%d/" % free_port())
    assert len(caplog.records) == 1
