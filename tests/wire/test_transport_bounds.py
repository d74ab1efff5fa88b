"""Promises about a wire call's bounds: its deadline, its read timeout, its size limit."""

from __future__ import absolute_import, division

import select
import socket
import threading

import pytest
from tools.scripted_server import ScriptedServer, answer, answering
from tools.waiting import PATIENCE

from datacat.errors import OutcomeUnknown
from datacat.wire import calls, sockets, transport
from datacat.wire.dialects import Request

EVENT = Request("POST", "/api/sessions/1/events", b'{"name":"e","data":{}}', False)
END = Request("POST", "/api/sessions/1/end", None, False)
SESSION = Request("GET", "/api/sessions/1", None, True)

# Each is sent at once, then continued byte by byte, and never complete.
DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 5),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b" " * 30),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n" * 5),
    "body without length": (b"HTTP/1.0 200 OK\r\n\r\n", b" " * 30),
    "error body": (b"HTTP/1.1 404 No\r\nContent-Length: 5000\r\n\r\n", b" " * 30),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2),
}


def dripping(clock, head, dripped):
    def play(server, connection):
        server.read(connection)
        connection.sendall(head)
        server.drip(connection, dripped, clock.tick)

    return play


def silent(server, _):
    server.over.wait(PATIENCE)


# The deadline


@pytest.mark.parametrize("drip", sorted(DRIPS))
def test_a_dripped_answer_ends_at_the_deadline(connect, clock, drip):
    """Each byte is in time, all of them together are not."""
    with ScriptedServer(dripping(clock, *DRIPS[drip])) as server:
        error = pytest.raises(OutcomeUnknown, connect(server).call, EVENT, deadline=80).value
    assert "deadline of 80 s" in str(error)


@pytest.mark.parametrize("drip", sorted(DRIPS))
def test_a_dripped_answer_buys_no_time_with_its_few_bytes(connect, clock, drip):
    with ScriptedServer(dripping(clock, *DRIPS[drip])) as server:
        error = pytest.raises(OutcomeUnknown, connect(server, deadline=80).call, EVENT).value
    assert "deadline of 80." in str(error)


# How much the client takes in at a time.
PIECES = [4 * 1024] + [16 * 1024] * 20


def call_at(connect, clock, seconds):
    """Make a call whose answer comes in so slowly; return (how much came, the error or None).

    :param seconds: how long each 2 KiB take.
    """
    taken, received = threading.Semaphore(0), []

    def play(server, connection):
        server.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % sum(PIECES))
        for size in PIECES:
            clock.now += seconds * size / 2048
            connection.sendall(b" " * size)
            taken.acquire()

    def take(piece):
        received.append(len(piece))
        taken.release()

    with ScriptedServer(play) as server:
        try:
            connect(server, deadline=80).call(SESSION, limit=None, on_chunk=take)
        except OutcomeUnknown as error:
            return sum(received), error
        finally:
            taken.release()
    return sum(received), None


def test_a_long_answer_at_the_pace_of_the_slowest_link_is_not_cut(connect, clock):
    assert call_at(connect, clock, 1) == (sum(PIECES), None)
    assert clock.now > 1000 + 150


def test_an_answer_that_is_slower_than_the_slowest_link_is_cut(connect, clock):
    received, error = call_at(connect, clock, 3)
    assert 0 < received < sum(PIECES) / 2
    assert "deadline" in str(error)


def test_of_an_answer_whose_beginning_is_enough_little_more_is_sent(connect):
    """A slow line would be busy with it for long; and the other connection stays."""
    sent, is_stuck = [0], threading.Event()

    def play(server, connection):
        for request in server.requests_on(connection):
            if request.path.endswith("/events"):
                connection.sendall(answer())
                continue
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
            while select.select([], [connection], [], 0.3)[1] and sent[0] < 10000000:
                sent[0] += connection.send(b" " * 4096)
            is_stuck.set()

    def is_enough(_):
        is_stuck.wait(PATIENCE)
        return True

    with ScriptedServer(play) as server:
        wire = connect(server)
        wire.call(EVENT)
        wire.call(SESSION, limit=None, on_chunk=is_enough, is_short=True)
        wire.call(EVENT)
        assert server.connections == 2
    assert 4096 <= sent[0] <= 64 * 1024


def test_a_dripped_answer_that_is_complete_before_the_deadline_is_an_answer(connect, clock):
    with ScriptedServer(dripping(clock, b"", answer(body=b"{}"))) as server:
        assert connect(server).call(EVENT, deadline=9999).body == b"{}"
    assert clock.now > 1080


def test_the_deadline_holds_on_a_reused_connection(connect, clock):
    def first_well_then_dripping(server, connection):
        for number, _ in enumerate(server.requests_on(connection)):
            if number == 0:
                connection.sendall(answer())
            else:
                server.drip(connection, b"".join(DRIPS["headers"]), clock.tick)

    with ScriptedServer(first_well_then_dripping) as server:
        wire = connect(server)
        wire.call(EVENT, deadline=90)
        error = pytest.raises(OutcomeUnknown, wire.call, EVENT, deadline=80).value
        assert server.connections == 1
    assert "deadline of 80 s" in str(error)


def test_a_wait_lasts_no_longer_than_the_rest_of_the_call(clock):
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    bounded = sockets.BoundedSocket(ours)
    theirs.sendall(b"ab")
    with calls.Call(7):
        bounded.recv_into(bytearray(1))
        assert ours.gettimeout() == 5
        clock.now += 4
        bounded.recv_into(bytearray(1))
        assert ours.gettimeout() == 3
        clock.now += 3
        pytest.raises(socket.timeout, bounded.recv_into, bytearray(1))
    ours.close()
    theirs.close()


def test_a_nested_call_leaves_the_outer_deadline_alone(connect, clock):
    """The rest is complete but late, and takes more than one wait."""
    inner_is_done = threading.Event()

    def play(server, connection):
        server.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 265536\r\n\r\n" + b"x" * 65536)
        inner_is_done.wait(PATIENCE)
        clock.now += 100
        connection.sendall(b"x" * 200000)

    def call_another(_):
        inner.call(EVENT, deadline=900)
        inner_is_done.set()

    with ScriptedServer(answering(answer())) as inner_server, ScriptedServer(play) as server:
        inner, call = connect(inner_server), connect(server).call
        error = pytest.raises(
            OutcomeUnknown, call, SESSION, limit=None, deadline=80, on_chunk=call_another
        ).value
        assert inner_server.requests
    assert "deadline of 80 s" in str(error)


# Read timeout


def test_a_read_timeout_ends_a_call_before_its_deadline(connect):
    with ScriptedServer(silent) as server:
        error = pytest.raises(OutcomeUnknown, connect(server, timeout=0.3).call, END).value
    assert "nothing came for 0.3 s" in str(error)


def test_bounds_grow_with_the_body():
    wire = transport.Transport(None)
    assert wire.allowance(None) == wire.allowance(b"") == 0
    assert wire.allowance(b" " * 1024 * 1024) == 512


def test_bounds_grow_less_on_a_link_that_is_known_to_be_faster():
    """A server that does not answer is given up sooner; the link may still have got slower."""
    wire = transport.Transport(None)
    wire.rate = 1024 * 1024
    assert wire.allowance(b" " * 1024 * 1024) == 8
    wire.rate = 1000
    assert wire.allowance(b" " * 1024 * 1024) == 512


LARGE = EVENT._replace(body=b" " * 1024 * 1024)
# A socket takes it before anybody reads, so that only its answer is waited for.
MIDDLING = EVENT._replace(body=b" " * 32 * 1024)


def test_a_large_body_may_take_longer_than_the_settings_say(connect, clock):
    def slow(server, connection):
        server.read(connection)
        clock.now += 82  # over the deadline
        server.over.wait(0.5)  # over the silence
        connection.sendall(answer())

    with ScriptedServer(slow) as server:
        assert connect(server, timeout=0.2, deadline=80).call(LARGE).status == 200


@pytest.mark.parametrize(
    "request_, options",
    [(END, {}), (MIDDLING, {"timeout": 0.2})],
    ids=["small", "timeout given"],
)
def test_only_a_large_body_may_be_answered_late_and_only_where_the_call_names_no_timeout(
    connect, clock, request_, options
):
    with ScriptedServer(silent_after_reading) as server:
        wire = connect(server, timeout=0.2, deadline=80)
        error = pytest.raises(OutcomeUnknown, wire.call, request_, **options).value
    assert "nothing came for 0.2 s" in str(error)


def silent_after_reading(server, connection):
    server.read(connection)
    server.over.wait(PATIENCE)


def test_a_large_body_may_not_be_answered_after_a_deadline_that_the_call_names(connect, clock):
    def late(server, connection):
        server.read(connection)
        clock.now += 81
        connection.sendall(answer()[:1])
        server.over.wait(PATIENCE)

    with ScriptedServer(late) as server:
        wire = connect(server, timeout=70, deadline=75)
        error = pytest.raises(OutcomeUnknown, wire.call, LARGE, deadline=80).value
    assert "deadline of 80 s" in str(error)


# Size


def test_an_answer_of_exactly_the_limit_is_read_and_one_byte_more_is_not(connect):
    with ScriptedServer(answering(answer(body=b"x" * 100), answer(body=b"x" * 101))) as server:
        wire = connect(server)
        assert wire.call(EVENT, limit=100).body == b"x" * 100
        error = pytest.raises(OutcomeUnknown, wire.call, EVENT, limit=100).value
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
        error = pytest.raises(OutcomeUnknown, connect(server).call, EVENT).value
    assert "limit of 65536 bytes" in str(error)


def test_an_endless_redirect_is_cut_and_not_followed(connect):
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"
    with ScriptedServer(endless(head)) as server:
        response = connect(server).call(EVENT)
        assert len(server.requests) == 1
    assert (response.status, len(response.body)) == (302, 65536)


def test_without_a_limit_a_large_answer_is_read_completely(connect):
    with ScriptedServer(answering(answer(body=b"x" * 300000))) as server:
        assert len(connect(server).call(SESSION, limit=None).body) == 300000


def test_the_words_of_an_error_status_are_cut_at_the_limit_and_the_status_is_kept(connect):
    with ScriptedServer(answering(answer(503, b"x" * 1000), answer())) as server:
        wire = connect(server)
        assert wire.call(EVENT, limit=100)[::2] == (503, b"x" * 100)
        assert wire.call(EVENT).status == 200


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


def test_a_stopped_stream_ends_and_its_connection_is_not_reused(connect):
    pieces = []
    with ScriptedServer(answering(answer(body=b"x" * 10**6), answer())) as server:
        wire = connect(server)
        wire.call(SESSION, limit=None, on_chunk=lambda piece: pieces.append(piece) or True)
        assert wire.call(EVENT).status == 200
        assert server.connections == 2
    assert len(pieces) == 1


def test_a_stream_keeps_the_limit(connect):
    with ScriptedServer(answering(answer(body=b"x" * 300000))) as server:
        call = connect(server).call
        error = pytest.raises(
            OutcomeUnknown, call, SESSION, limit=200000, on_chunk=[].append
        ).value
    assert "limit of 200000" in str(error)


def test_a_stream_keeps_the_deadline(connect, clock):
    with ScriptedServer(dripping(clock, *DRIPS["body"])) as server:
        call = connect(server).call
        error = pytest.raises(OutcomeUnknown, call, SESSION, deadline=80, on_chunk=[].append).value
    assert "deadline of 80 s" in str(error)


def test_an_error_status_is_not_streamed_but_returned_with_its_words(connect):
    pieces = []
    with ScriptedServer(answering(answer(404, b"Session not found\n"))) as server:
        response = connect(server).call(SESSION, on_chunk=pieces.append)
    assert (response.status, response.body, pieces) == (404, b"Session not found\n", [])


def test_an_error_of_a_streams_reader_is_not_taken_for_the_servers(connect):
    def reader(_):
        raise ValueError("mine")

    with ScriptedServer(answering(answer(body=b"x"))) as server:
        error = pytest.raises(ValueError, connect(server).call, SESSION, on_chunk=reader).value
    assert str(error) == "mine"
