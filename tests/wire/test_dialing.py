"""Promises about connecting to a name with several addresses, some of them dead."""

from __future__ import absolute_import, division

import contextlib
import socket
import ssl
import threading

import pytest
from tools.scripted_server import ScriptedServer, answer, answering
from tools.swallowing import SWALLOWS, Swallowing
from tools.waiting import PATIENCE

from datacat._compat import monotonic
from datacat.errors import NotSent
from datacat.wire import dialing
from datacat.wire.dialects import Request

READ = Request("GET", "/api/sessions/1", None, True)
SIX, FOUR = socket.AF_INET6, socket.AF_INET


def found(family, address):
    return (family, socket.SOCK_STREAM, 6, "", address)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(dialing, "_worked", {})


def test_families_take_turns_in_the_order_of_the_system():
    six = [found(SIX, ("::%d" % number, 1, 0, 0)) for number in range(3)]
    four = [found(FOUR, ("127.0.0.%d" % number, 1)) for number in range(2)]
    assert dialing.arranged(six + four) == [six[0], four[0], six[1], four[1], six[2]]
    assert dialing.arranged(four) == four


def test_the_address_that_worked_goes_first():
    four = [found(FOUR, ("127.0.0.%d" % number, 1)) for number in range(4)]
    assert dialing.arranged(four, four[2][4]) == [four[2], four[0], four[1], four[3]]
    assert dialing.arranged(four, ("gone", 1)) == four


def resolve_to(monkeypatch, *addresses):
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_: [found(FOUR, address) for address in addresses]
    )


def closed_port():
    with contextlib.closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()


@SWALLOWS
@pytest.mark.parametrize("dead", [1, 3])
def test_dead_addresses_before_a_live_one_cost_a_quarter_of_a_second_each(
    connect, monkeypatch, dead
):
    with Swallowing() as swallowing, ScriptedServer(answering(answer())) as server:
        live = ("127.0.0.1", server.port)
        resolve_to(monkeypatch, *[swallowing.address] * dead + [live])
        wire = connect("http://cats.invalid", timeout=PATIENCE)
        began = monotonic()
        assert wire.call(READ).status == 200
        assert 0.25 * dead <= monotonic() - began < 10
        wire.close()
        resolve_to(monkeypatch, *[swallowing.address] * 3 + [live])
        monkeypatch.setattr(dialing, "HEAD_START", PATIENCE)
        assert wire.call(READ).status == 200


def test_the_winner_of_a_race_waits_like_any_other_connection(connect, monkeypatch):
    """For room to send, and for the answer."""
    body = b'"' + b"x" * 20000000 + b'"'

    def slow(server, connection):
        for _ in server.requests_on(connection):
            connection.sendall(answer())

    with ScriptedServer(slow) as server:
        resolve_to(monkeypatch, closed_port(), ("127.0.0.1", server.port))
        request = Request("POST", "/api/sessions/1/events", body, False)
        assert connect("http://cats.invalid").call(request).status == 200
        assert [len(each.body) for each in server.requests if each.path == request.path] == [
            len(body)
        ]


def test_a_name_with_two_addresses_is_reached_over_tls(connect, monkeypatch, tmp_path):
    authority = pytest.importorskip("trustme").CA()
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("cats.example").configure_cert(tls)
    with ScriptedServer(answering(answer()), tls) as server:
        resolve_to(monkeypatch, closed_port(), ("127.0.0.1", server.port))
        wire = connect("https://cats.example", verify=str(path))
        assert wire.call(READ).status == 200


def test_an_address_that_refuses_costs_nothing(connect, monkeypatch):
    monkeypatch.setattr(dialing, "HEAD_START", PATIENCE)
    with ScriptedServer(answering(answer())) as server:
        resolve_to(monkeypatch, closed_port(), closed_port(), ("127.0.0.1", server.port))
        assert connect("http://cats.invalid").call(READ).status == 200


def test_if_all_refuse_the_last_refusal_is_told(connect, monkeypatch):
    resolve_to(monkeypatch, closed_port(), closed_port())
    error = pytest.raises(NotSent, connect("http://cats.invalid").call, READ).value
    assert "refused" in str(error)


@SWALLOWS
def test_all_addresses_share_one_bound(connect, monkeypatch):
    with Swallowing() as swallowing:
        resolve_to(monkeypatch, *[swallowing.address] * 4)
        wire = connect("http://cats.invalid", retries=0)
        began = monotonic()
        error = pytest.raises(NotSent, wire.call, READ, timeout=0.6).value
        assert 0.6 <= monotonic() - began < 10
        assert "timed out" in str(error)
        error = pytest.raises(NotSent, wire.call, READ, timeout=5, deadline=0.5).value
        assert "deadline of 0.5 s has passed" in str(error)


@SWALLOWS
def test_attempts_that_lost_are_closed(monkeypatch):
    made = []
    make = dialing._new_socket
    here = threading.current_thread()

    def make_and_note(*each):
        new = make(*each)
        # A sender of another test may be dialling, too.
        if threading.current_thread() is here:
            made.append(new)
        return new

    monkeypatch.setattr(dialing, "_new_socket", make_and_note)
    with Swallowing() as swallowing, ScriptedServer(answering(answer())) as server:
        addresses = [found(FOUR, swallowing.address)] * 2
        addresses.append(found(FOUR, ("127.0.0.1", server.port)))
        winner = dialing.dial("key", addresses, [], PATIENCE, lambda seconds: seconds)
        assert winner.getpeername()[1] == server.port
        assert made.pop() is winner
        winner.close()
    assert len(made) == 2
    for lost in made:
        with pytest.raises(EnvironmentError):
            lost.getsockname()
