"""Promises about requests sent back to back: what is answered, and what may have had an effect."""

from __future__ import absolute_import, division

import errno
import gc
import socket

import pytest
import responses
from six.moves import http_client
from tools.scripted_server import ScriptedServer, answer, answering, reset
from tools.waiting import PATIENCE

from datacat.errors import OutcomeUnknown
from datacat.wire import calls, pipelining, sockets
from datacat.wire.dialects import Request

HEALTH = Request("GET", "/health", None, True)


def event(number, size=10):
    body = b'{"name":"%d","data":"%s"}' % (number, b"x" * size)
    return Request("POST", "/api/sessions/1/events", body, False)


EVENTS = [event(number) for number in range(8)]


def numbered(number, **options):
    return answer(body=b'{"status":"ok","number":%d}' % number, **options)


def after(first, play):
    """Return a script that answers one request, and then plays."""

    def script(server, connection):
        requests = server.requests_on(connection)
        next(requests)
        connection.sendall(first)
        play(requests, connection)

    return script


@pytest.fixture
def connected(connect):
    """Makes transports with a connection: connected(server, **settings)."""

    def make(server, **options):
        wire = connect(server, **options)
        wire.call(HEALTH)
        return wire

    return make


def bodies(found):
    return [response.body for response in found]


def expected(count):
    return [b'{"status":"ok","number":%d}' % number for number in range(count)]


def all_then_answers(requests, connection):
    for _ in EVENTS:
        next(requests)
    connection.sendall(b"".join(numbered(number) for number in range(len(EVENTS))))
    next(requests, None)


def test_all_requests_are_out_before_the_first_answer_and_each_gets_its_own(connected):
    with ScriptedServer(after(answer(), all_then_answers)) as server:
        found, error = connected(server).call_all(EVENTS)
        assert server.connections == 1
    assert error is None and bodies(found) == expected(8)
    assert [request.body for request in server.requests[1:]] == [each.body for each in EVENTS]


@pytest.mark.parametrize("key", [None, "hunter2", u"caf\xe9-caf\xe9"])
def test_a_request_in_a_window_is_the_one_that_a_single_call_sends(connected, key):
    """Byte for byte, but for the order of the headers."""
    with ScriptedServer(answering(answer())) as server:
        wire = connected(server, api_key=key)
        for request in (EVENTS[0], EVENTS[1]._replace(body=b"packed", encoding="gzip"), HEALTH):
            wire.call(request)
            assert wire.call_all([request])[1] is None
            single, windowed = server.requests[-2:]
            assert windowed[:3] == single[:3] and windowed.body == single.body
            assert sorted(windowed.head.split(b"\r\n")) == sorted(single.head.split(b"\r\n"))


def test_nothing_is_sent_without_a_connection(connect):
    """The first request makes one, by requests and its adapters."""
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        assert wire.call_all(EVENTS) == ([], None)
        assert wire.call(HEALTH).status == 200
        assert len(wire.call_all(EVENTS)[0]) == 8
    assert len(server.requests) == 9


def test_a_single_call_goes_on_with_the_connection_of_a_window(connected):
    with ScriptedServer(answering(answer())) as server:
        wire = connected(server)
        for _ in range(3):
            assert len(wire.call_all(EVENTS)[0]) == 8
            assert wire.call(HEALTH).status == 200
        assert server.connections == 1


@pytest.mark.parametrize(
    "head, body",
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2
            + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            b"ok",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"),
    ],
    ids=["chunked", "continue", "early hints", "length"],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_answers_of_any_framing_in_any_pieces_are_told_apart(connected, head, body, piece):
    def play(requests, connection):
        for _ in EVENTS:
            next(requests)
        data = (head + body) * 8
        for start in range(0, len(data), piece):
            connection.sendall(data[start : start + piece])
        next(requests, None)

    with ScriptedServer(after(answer(), play)) as server:
        found, error = connected(server).call_all(EVENTS)
    assert error is None and bodies(found) == [b"ok"] * 8


class Closing(object):
    """A script that ends each connection after so many answers; the last number repeats."""

    def __init__(self, *counts):
        self._counts = list(counts)

    def __call__(self, server, connection):
        most = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        for number, _ in enumerate(server.requests_on(connection), 1):
            if number == most:
                connection.sendall(numbered(number, headers=[("Connection", "close")]))
                return
            connection.sendall(numbered(number))


@pytest.fixture
def windows_of(monkeypatch):
    """Returns how many of EVENTS each of some windows sends, and how many are answered."""

    def count(wire, windows):
        sent, found = [], []
        send = pipelining.send
        monkeypatch.setattr(
            pipelining, "send", lambda *call: (sent.append(len(call[2])), send(*call))
        )
        for _ in range(windows):
            wire.call(HEALTH)
            responses, error = wire.call_all(EVENTS)
            assert error is None
            found.append(len(responses))
            assert wire.call_all(EVENTS) == ([], None), "the connection was not closed"
        return sent, found

    return count


def test_what_follows_the_last_answer_of_a_connection_had_no_effect(connect, windows_of):
    """Connection: close.  Windows are then as long as the server's connections are."""
    with ScriptedServer(Closing(5)) as server:
        assert windows_of(connect(server), 4) == ([8, 8, 4, 4], [4, 4, 4, 4])


def test_a_connection_that_was_closed_once_shortens_no_other(connect, windows_of):
    """Such as by a server that was being stopped."""
    with ScriptedServer(Closing(3, 5, 4, 9)) as server:
        assert windows_of(connect(server), 4) == ([8, 8, 8, 8], [2, 4, 3, 8])


@pytest.mark.parametrize("end", [reset, lambda connection: None], ids=["reset", "closed"])
@pytest.mark.parametrize("answered", [0, 3])
def test_a_broken_connection_leaves_the_rest_in_doubt(connected, answered, end):
    def play(requests, connection):
        for _ in EVENTS:
            next(requests)
        connection.sendall(b"".join(numbered(number) for number in range(answered)))
        end(connection)

    with ScriptedServer(after(answer(), play)) as server:
        wire = connected(server)
        found, error = wire.call_all(EVENTS)
        assert isinstance(error, OutcomeUnknown)
        # A reset may take away answers that were on their way.
        assert bodies(found) == expected(answered)[: len(found)]
        if end is not reset:
            assert len(found) == answered
        assert wire.call_all(EVENTS) == ([], None)


@pytest.mark.parametrize("cut", [10, 60])
def test_an_answer_that_breaks_off_is_none(connected, cut):
    whole = numbered(0)

    def play(requests, connection):
        for _ in EVENTS:
            next(requests)
        connection.sendall(whole + whole[: len(whole) - cut])

    with ScriptedServer(after(answer(), play)) as server:
        found, error = connected(server).call_all(EVENTS)
    assert isinstance(error, OutcomeUnknown) and len(found) == 1


def test_the_answers_given_before_a_server_broke_off_are_read(connected):
    """It refuses a large request before it has read all, and resets the connection later."""
    large = [event(number, 100000) for number in range(3)]

    def play(requests, connection):
        connection.recv(1000)
        connection.sendall(answer(413, b"too large", [("Connection", "close")]))

    with ScriptedServer(after(answer(), play)) as server:
        found, error = connected(server).call_all(large)
    assert [response.status for response in found] in ([413], [])
    assert (error is None) == bool(found)


def test_a_window_that_could_not_be_sent_whole_may_have_arrived_all_the_same(
    connected, monkeypatch
):
    """What was answered counts, and the rest is in doubt."""
    with ScriptedServer(after(answer(), all_then_answers)) as server:
        wire = connected(server)
        sendall = sockets.BoundedSocket.sendall

        def break_off(self, data):
            sendall(self, data)
            calls.in_thread.call.broken = True
            raise EnvironmentError(errno.EPIPE, "Broken pipe")

        monkeypatch.setattr(sockets.BoundedSocket, "sendall", break_off)
        more = EVENTS + [event(8)]
        found, error = wire.call_all(EVENTS)
        assert error is None and bodies(found) == expected(8)
        monkeypatch.setattr(sockets.BoundedSocket, "recv_into", lambda *_: 0)
        assert isinstance(wire.call_all(more)[1], OutcomeUnknown)


def test_an_answer_over_the_limit_ends_the_window(connected):
    def play(requests, connection):
        next(requests)
        connection.sendall(numbered(0) + answer(body=b"x" * 70000) + numbered(2))
        next(requests, None)

    with ScriptedServer(after(answer(), play)) as server:
        found, error = connected(server).call_all(EVENTS)
    assert len(found) == 1 and "larger than the limit" in str(error)


def test_interim_answers_without_end_are_no_answer(connected):
    def play(requests, connection):
        next(requests)
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 50)
        next(requests, None)

    with ScriptedServer(after(answer(), play)) as server:
        found, error = connected(server).call_all(EVENTS)
    assert found == [] and isinstance(error, OutcomeUnknown)


def test_a_silent_server_ends_the_window_at_the_timeout(connect):
    """Nothing that it says later is taken for the answer to another request."""

    def play(requests, connection):
        if next(requests, None):
            connection.sendall(numbered(0))
        while next(requests, None):
            pass

    with ScriptedServer(after(answer(), play)) as server:
        wire = connect(server, timeout=0.2)
        wire.call(HEALTH, timeout=PATIENCE)
        found, error = wire.call_all(EVENTS)
        assert wire.call(HEALTH, timeout=PATIENCE).status == 200
        assert server.connections == 2
    assert len(found) == 1
    assert isinstance(error, OutcomeUnknown) and "nothing came for 0." in str(error)


def test_dripped_answers_end_at_the_deadline(connected, clock):
    def play(server, connection):
        requests = server.requests_on(connection)
        next(requests)
        connection.sendall(answer())
        next(requests)
        server.drip(connection, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5, clock.tick)

    with ScriptedServer(play) as server:
        found, error = connected(server, deadline=80).call_all(EVENTS)
    assert found == [] and "the deadline of 80." in str(error)


def test_a_connection_that_the_application_closed_leaves_the_window_in_doubt(
    connected, monkeypatch
):
    with ScriptedServer(answering(answer())) as server:
        wire = connected(server)
        monkeypatch.setattr(sockets.Descriptors, "are_ours", lambda self: False)
        found, error = wire.call_all(EVENTS)
        assert found == [] and "another part of this program" in str(error)


def test_no_window_goes_past_what_stands_in_for_requests(connected):
    with ScriptedServer(answering(answer())) as server:
        wire = connected(server)
        with responses.RequestsMock(assert_all_requests_are_fired=False):
            assert wire.call_all(EVENTS) == ([], None)
        assert len(wire.call_all(EVENTS)[0]) == 8


def test_no_window_goes_through_a_forward_proxy(connected):
    with ScriptedServer(answering(answer())) as proxy:
        wire = connected("http://datacat.invalid", proxies={"http": proxy.url})
        assert wire.call_all(EVENTS) == ([], None)
    assert [request.path for request in proxy.requests] == ["http://datacat.invalid/health"]


def test_the_key_is_kept_out_of_an_answer_that_echoes_it(connected):
    echo = b"you sent Authorization: Bearer hunter22"

    def play(requests, connection):
        next(requests)
        connection.sendall(answer(500, echo) + answer(body=echo))
        next(requests, None)

    with ScriptedServer(after(answer(), play)) as server:
        found, _ = connected(server, api_key="hunter22", timeout=PATIENCE).call_all(EVENTS[:2])
    assert [b"hunter22" in body for body in bodies(found)] == [False, False]


@pytest.mark.filterwarnings("error")
def test_a_parser_that_gives_up_is_released_in_silence(capfd):
    """Python prints what its finalizer raises; pytest warns of it."""
    ours, theirs = socket.socketpair()
    theirs.close()
    with calls.Call(PATIENCE):
        answers = pipelining.Answers(sockets.BoundedSocket(ours), 1000)
        pytest.raises(http_client.HTTPException, answers.read, "POST")
        answers.close()
    ours.close()
    gc.collect()
    assert capfd.readouterr().err == ""
