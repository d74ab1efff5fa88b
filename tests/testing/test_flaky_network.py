"""A bad network in front of a real server, as the plugin gives it to tests of applications."""

from __future__ import absolute_import, division

import socket
import threading

import pytest
from tools import held
from tools.waiting import PATIENCE, wait_until

from datacat.testing.network import FlakyNetwork

A_REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def network(collector):
    bad = FlakyNetwork(collector)
    yield bad
    bad.close()


@pytest.fixture
def session(network, open_session):
    return open_session(network.url)


def ours():
    return [each for each in threading.enumerate() if each.name == "datacat flaky_network"]


def log_and_flush(session):
    for number in range(3):
        session.log_event("step", {"number": number})
    wait_until(session.flush)


def connected(network):
    return socket.create_connection(("127.0.0.1", int(network.url.rsplit(":")[-1])), PATIENCE)


def test_a_good_network_passes_everything_on(network, session, collector):
    log_and_flush(session)
    assert held.numbers(collector.session(session.session_id)) == [0, 1, 2]
    assert (network.lost, network.was_cut) == (0, 0)


def test_the_server_gets_the_requests_whose_answers_are_lost(network, session, collector):
    network.lose_answers(2)
    log_and_flush(session)
    assert network.lost == 2
    assert held.numbers(collector.session(session.session_id)) == [0, 1, 2]


def test_the_client_gets_nothing_of_an_answer_that_is_lost(network):
    network.lose_answers()
    client = connected(network)
    client.sendall(A_REQUEST)
    assert client.recv(1000) == b"" and network.lost == 1
    client.close()


def test_the_server_gets_half_of_a_request_that_is_cut():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    network = FlakyNetwork("http://127.0.0.1:%d/prefix" % listener.getsockname()[1], cuts=1)
    assert network.url.endswith("/prefix")
    client = socket.create_connection(("127.0.0.1", int(network.url.split(":")[2][:-7])), PATIENCE)
    client.sendall(b"0123456789")
    server, _ = listener.accept()
    server.settimeout(PATIENCE)
    assert (server.recv(100), server.recv(100), client.recv(100)) == (b"01234", b"", b"")
    for each in (client, server, listener, network):
        each.close()


def test_in_the_dark_nothing_passes_until_it_is_restored(network, session, collector):
    network.go_dark()
    session.log_event("step", {"number": 0})
    assert session.flush(timeout=0.2) is False
    assert held.numbers(collector.session(session.session_id)) == []
    network.restore()
    wait_until(session.flush)
    assert held.numbers(collector.session(session.session_id)) == [0]


def test_what_was_on_its_way_in_the_dark_is_lost(network):
    network.go_dark()
    before = len(ours())
    client = connected(network)
    client.sendall(A_REQUEST)
    wait_until(lambda: len(ours()) > before)
    network.restore()
    client.settimeout(PATIENCE)
    # Closed, with or without a reset.
    try:
        assert client.recv(100) == b""
    except socket.error:
        pass
    client.close()


def test_it_may_begin_with_faults(collector, open_session):
    network = FlakyNetwork(collector.url, loses=1, cuts=1, delay=0.001)
    log_and_flush(open_session(network.url))
    assert (network.lost, network.was_cut) == (1, 1)
    network.close()
    network = FlakyNetwork(collector.url, dark=True)
    session = open_session(network.url, connect_wait=0)
    assert not session.flush(timeout=0.1)
    network.close()


def test_bytes_wait_each_way(collector, monkeypatch):
    waits = []
    monkeypatch.setattr(FlakyNetwork, "wait", lambda network, closed: waits.append(network.delay))
    network = FlakyNetwork(collector, delay=7)
    client = connected(network)
    client.sendall(A_REQUEST)
    assert client.recv(1000).startswith(b"HTTP/1.1 200")
    # The connection, the request and the answer; then the end of one side.
    assert waits[:3] == [7, 7, 7]
    client.close()
    network.close()


def test_waits_are_as_long_as_the_delay_or_the_darkness(network):
    class Closed(object):
        waits = []

        def wait(self, *seconds):
            self.waits.append(seconds)

    network.wait(Closed())
    network.delay = 7
    network.wait(Closed())
    network.go_dark()
    network.wait(Closed())
    assert Closed.waits == [(7,), (7,), ()]


@pytest.mark.parametrize("fault", ["dark", "slow", "idle"])
def test_closing_it_ends_its_threads_at_once(collector, fault):
    before = set(ours())
    network = FlakyNetwork(collector, dark=fault == "dark")
    network.delay = 0 if fault == "idle" else 3600.0 * (fault == "slow")
    client = connected(network)
    client.sendall(b"GET /health")
    network.close()
    assert set(ours()) <= before
    client.close()


def test_a_connection_that_is_over_is_forgotten(network):
    before = len(ours())
    connected(network).close()
    wait_until(lambda: len(ours()) == before and not network._connections)


def test_in_front_of_nothing_connections_are_closed():
    network = FlakyNetwork("http://127.0.0.1:9")
    client = connected(network)
    assert client.recv(100) == b""
    client.close()
    network.close()


def test_a_url_that_it_cannot_relay_is_refused():
    with pytest.raises(ValueError) as caught:
        FlakyNetwork("https://example.org")
    assert "https://example.org" in str(caught.value)
