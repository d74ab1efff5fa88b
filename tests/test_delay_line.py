"""The benchmarks' delay line: bytes arrive late, no faster than it carries, and not after a cut.

No test asserts that something was fast: a busy machine only makes what is measured here longer.
"""

from __future__ import absolute_import, division

import contextlib
import errno
import os
import select
import socket
import sys
from timeit import default_timer

import pytest
from tools.collector_process import collector_python
from tools.waiting import PATIENCE

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import links, servers, subjects

# A timer may fire a little early by another clock's count.
CLOCKS = 0.01


@pytest.fixture(autouse=True)
def python(monkeypatch):
    """Let a Python run the line that can, whatever runs the tests."""
    monkeypatch.setenv("DATACAT_COLLECTOR_PYTHON", collector_python())


@pytest.fixture
def server():
    """A listening socket."""
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        listener.settimeout(PATIENCE)
        yield listener


def line_to(server, rtt=0.0, **options):
    return servers.Line("http://127.0.0.1:%d" % server.getsockname()[1], rtt, **options)


@contextlib.contextmanager
def connected(line, server):
    """Both ends of a connection over a line."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", line.port), PATIENCE)) as near:
        with contextlib.closing(server.accept()[0]) as far:
            far.settimeout(PATIENCE)
            yield near, far


def received(end, size):
    """Return so many bytes, or fewer if the other end ends."""
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def fill(end, data):
    """Send until the line has taken nothing for a while; return how many bytes were sent."""
    sent = 0
    while select.select([], [end], [], 0.5)[1]:
        sent += end.send(data)
        assert sent < 64 * 1024 * 1024, "the line takes any number of bytes"
    return sent


def is_reset(end):
    """Wait for the end of a connection; return whether it was a reset."""
    try:
        while end.recv(65536):
            pass
    except socket.error as problem:
        return problem.errno == errno.ECONNRESET
    return False


def passed_since(start):
    return default_timer() - start + CLOCKS


def test_bytes_arrive_after_the_delay_and_the_first_ones_after_the_handshake(server):
    with line_to(server, rtt=0.2) as line:
        start = default_timer()
        with connected(line, server) as (near, far):
            near.sendall(b"first")
            assert received(far, 5) == b"first"
            assert passed_since(start) >= 0.3
            start = default_timer()
            far.sendall(b"answer")
            assert received(near, 6) == b"answer"
            assert passed_since(start) >= 0.1


def test_many_bytes_are_under_way_at_once(server):
    """One packet after the other would take minutes."""
    packets = 3000
    assert packets * 0.1 > 2 * PATIENCE
    data = b"x" * 1400 * packets
    with line_to(server, rtt=0.2, buffer=len(data)) as line:
        with connected(line, server) as (near, far):
            start = default_timer()
            near.sendall(data)
            assert received(far, len(data)) == data
            assert default_timer() - start < PATIENCE


def test_what_it_carries_in_a_second_is_an_upper_bound_for_all_connections_together(server):
    with line_to(server, bits=80000) as line:
        with connected(line, server) as (near, far), connected(line, server) as (near2, far2):
            start = default_timer()
            near.sendall(b"x" * 3000)
            near2.sendall(b"y" * 3000)
            assert received(far, 3000) == b"x" * 3000
            assert received(far2, 3000) == b"y" * 3000
            assert passed_since(start) >= 8 * 6000 / 80000
            start = default_timer()
            far.sendall(b"z" * 3000)
            assert received(near, 3000) == b"z" * 3000
            assert passed_since(start) >= 8 * 3000 / 80000


def test_a_full_buffer_makes_the_sender_wait_and_loses_nothing(server):
    with line_to(server, buffer=1000) as line, connected(line, server) as (near, far):
        near.setblocking(False)
        sent = fill(near, b"x" * 4096)
        near.close()
        assert len(received(far, sent + 1)) == sent


def test_a_dark_line_delivers_everything_afterwards(server):
    with line_to(server) as line, connected(line, server) as (near, far):
        start = default_timer()
        line.go_dark(0.3)
        near.sendall(b"up")
        far.sendall(b"down")
        assert received(far, 2) == b"up"
        assert received(near, 4) == b"down"
        assert passed_since(start) >= 0.3


def test_a_cut_resets_all_connections_and_a_new_one_works(server):
    with line_to(server) as line:
        with connected(line, server) as (near, far), connected(line, server) as (near2, far2):
            line.cut()
            assert [is_reset(end) for end in (near, far, near2, far2)] == [True] * 4
        with connected(line, server) as (near, far):
            near.sendall(b"again")
            assert received(far, 5) == b"again"


def test_a_lost_answer_resets_its_connection_after_the_request_arrived(server):
    with line_to(server) as line, connected(line, server) as (near, far):
        line.lose_answer()
        near.sendall(b"request")
        assert received(far, 7) == b"request"
        far.sendall(b"answer")
        assert is_reset(near)
        assert line.delivered() == {"up": 7, "down": 0}


def test_the_end_of_one_direction_leaves_the_other_open(server):
    with line_to(server) as line, connected(line, server) as (near, far):
        near.sendall(b"last words")
        near.shutdown(socket.SHUT_WR)
        assert received(far, 100) == b"last words"
        far.sendall(b"answer")
        assert received(near, 6) == b"answer"


def test_a_stopped_line_resets_its_connections_and_refuses_new_ones(server):
    with line_to(server) as line:
        with connected(line, server) as (near, far):
            line.__exit__()
            assert is_reset(near)
            assert is_reset(far)
        with pytest.raises(socket.error):
            socket.create_connection(("127.0.0.1", line.port), PATIENCE)


@pytest.mark.parametrize("generation", ["v1", "classic"])
def test_a_drain_with_cuts_checks_that_each_record_arrived_once_and_in_order(
    generation, monkeypatch
):
    monkeypatch.setattr(links, "FAULTS_EVERY", 0)
    strikes = []

    def strike(line):
        """Cut the line three times, at each fifth glance."""
        strikes.append(line)
        if len(strikes) in (1, 6, 11):
            line.cut()

    with servers.Collector(generation) as server, servers.Line(server.url, 0.05) as line:
        found = links.drained(line, server.url, 100, strike=strike)
    assert (found.records, found.generation) == (100, generation)
    assert strikes


@pytest.mark.parametrize(
    "numbers, complaint",
    [
        ([0, 1], "of 3 records, 2 arrived, 2 different ones, in order"),
        ([0, 1, 1, 2], "of 3 records, 4 arrived, 3 different ones, in order"),
        ([0, 2, 1], "of 3 records, 3 arrived, 3 different ones, out of order"),
    ],
)
def test_records_that_are_missing_or_twice_or_out_of_order_are_no_result(numbers, complaint):
    with servers.Collector("v1") as server, subjects.session(server.url) as session:
        for number in numbers:
            session.log_event(subjects.NAME, {"number": number})
        assert session.flush(PATIENCE)
        with pytest.raises(RuntimeError, match=complaint):
            links.check_arrived(server.url, session.session_id, 3)
