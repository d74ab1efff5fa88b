"""Promises of a window that makes its own connection: as a single call would make it."""

from __future__ import absolute_import, division

import contextlib
import ssl

import pytest
from tools.ports import held_port
from tools.scripted_server import ScriptedServer, answer, answering, reset

from datacat.errors import NotSent, OutcomeUnknown, TlsFailure
from datacat.wire.dialects import Request

HEALTH = Request("GET", "/health", None, True)
EVENTS = [
    Request("POST", "/api/sessions/1/events", b'{"name":"%d"}' % number, False)
    for number in range(8)
]


def test_a_window_may_make_its_own_connection(connect):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        found, error = wire.call_all([HEALTH] + EVENTS, connects=True)
        assert error is None and len(found) == 9
        wire.call(HEALTH)
        assert server.connections == 1


def test_a_window_that_cannot_connect_was_not_sent(connect):
    with contextlib.closing(held_port()) as held:
        wire = connect("http://127.0.0.1:%d" % held.getsockname()[1])
        found, error = wire.call_all(EVENTS, connects=True)
    assert found == [] and isinstance(error, NotSent)
    assert "refused" in str(error)


def test_a_new_connection_that_breaks_leaves_the_window_in_doubt(connect):
    def play(server, connection):
        server.read(connection)
        reset(connection)

    with ScriptedServer(play) as server:
        found, error = connect(server).call_all(EVENTS, connects=True)
    assert found == [] and isinstance(error, OutcomeUnknown)


def test_through_a_forward_proxy_a_window_makes_no_connection(connect):
    with ScriptedServer(answering(answer())) as proxy:
        wire = connect("http://cats.invalid", proxies={"http": proxy.url})
        assert wire.call_all(EVENTS, connects=True) == ([], None)
        assert proxy.connections == 0


@pytest.fixture
def authority():
    return pytest.importorskip("trustme").CA()


@pytest.fixture
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "cats.invalid").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def test_a_window_may_make_its_own_tls_connection(connect, tls, trusted):
    with ScriptedServer(answering(answer()), tls) as server:
        found, error = connect(server, verify=trusted).call_all(EVENTS, connects=True)
        assert error is None and len(found) == 8


def test_a_window_gets_no_connection_to_a_server_that_is_not_trusted(connect, tls):
    with ScriptedServer(answering(answer()), tls) as server:
        wire = connect(server)
        found, error = wire.call_all(EVENTS, connects=True)
        assert found == [] and isinstance(error, TlsFailure)
        assert isinstance(pytest.raises(TlsFailure, wire.call, HEALTH).value, TlsFailure)
        assert server.requests == []


def test_a_handshake_that_breaks_off_says_nothing_about_trust(connect, trusted):
    def play(server, connection):
        connection.recv(1)
        reset(connection)

    with ScriptedServer(play) as server:
        url = server.url.replace("http:", "https:")
        found, error = connect(url, verify=trusted).call_all(EVENTS, connects=True)
    assert found == [] and type(error) is NotSent


def test_a_window_may_go_through_a_tunnel(connect, tls, trusted):
    def tunnel(server, connection):
        heads.append(server.read(connection).head)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inner = tls.wrap_socket(connection, server_side=True)
        for _ in server.requests_on(inner):
            inner.sendall(answer())

    heads = []
    with ScriptedServer(tunnel) as proxy:
        wire = connect(
            "https://cats.invalid",
            verify=trusted,
            proxies={"https": proxy.url},
            api_key="hunter22",
        )
        found, error = wire.call_all(EVENTS, connects=True)
        assert error is None and len(found) == 8
        assert proxy.connections == 1
        # The end of the tunnel, which its script waits for.
        wire.close()
    assert heads[0].startswith(b"CONNECT cats.invalid:443") and b"hunter22" not in heads[0]
