"""Promises about this machine's own addresses: found without a packet, and without a look-up."""

from __future__ import absolute_import, division

import contextlib
import socket

import pytest
from tools.ports import held_port
from tools.scripted_server import ScriptedServer, answer, answering

from datacat import errors, settings
from datacat.wire import own_address
from datacat.wire.dialects import health
from datacat.wire.own_address import Route, own_addresses
from datacat.wire.transport import Transport

SIX, FOUR = socket.AF_INET6, socket.AF_INET


def has_ipv6():
    try:
        with contextlib.closing(socket.socket(SIX, socket.SOCK_DGRAM)) as probe:
            probe.bind(("::1", 0))
        return True
    except EnvironmentError:
        return False


FAMILIES = [
    (FOUR, "127.0.0.1"),
    pytest.param(
        SIX, "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
    ),
]


def found(family, address):
    return (family, socket.SOCK_STREAM, 6, "", address)


@pytest.fixture
def no_name_service(monkeypatch):
    def fail(*_):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket, "gethostbyname", fail)


@pytest.mark.parametrize("family, host", FAMILIES)
def test_no_packet_leaves_and_no_name_is_looked_up(family, host, no_name_service):
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as listening:
        listening.bind((host, 0))
        address = listening.getsockname()
        for _ in range(100):
            assert own_addresses([(family, address)]) == (host,)
        # If a packet had come, it would come first.
        with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as sending:
            sending.sendto(b"the first one", address)
        listening.settimeout(30)
        assert listening.recv(100) == b"the first one"


@pytest.mark.parametrize(
    "target",
    [
        (FOUR, ("255.255.255.255", 9)),
        (SIX, ("fe80::1", 9, 0, 987654)),
        (SIX, ("::1", "no port")),
        (12345, ("127.0.0.1", 9)),
        (FOUR, ()),
    ],
)
def test_whatever_goes_wrong_means_no_address(target):
    assert own_addresses([target]) == (None,)


def test_of_several_addresses_the_first_of_each_family_is_asked_about(monkeypatch):
    asked = []
    monkeypatch.setattr(own_address, "own_addresses", lambda targets: asked.extend(targets))
    route = Route()
    route.note([found(SIX, ("::2", 1, 0, 0)), found(FOUR, ("127.0.0.2", 1))] * 2)
    route.note([])
    route.own_addresses()
    assert asked == [(SIX, ("::2", 1, 0, 0)), (FOUR, ("127.0.0.2", 1))]


def test_before_any_name_was_looked_up_the_way_to_anywhere_counts(no_name_service):
    """A process that starts offline cannot look up its server."""
    addresses = Route().own_addresses()
    assert len(addresses) == 2


def transport_to(url, **options):
    return Transport(settings.resolve(url, product="p", version="1", **options), retries=0)


def test_a_transport_asks_about_the_address_that_it_dialed_last():
    with ScriptedServer(answering(answer())) as server:
        transport = transport_to(server.url)
        transport.call(health())
        assert transport.own_addresses() == ("127.0.0.1",)
        transport.close()


def test_a_transport_asks_about_its_proxys_address(monkeypatch):
    asked = []
    monkeypatch.setattr(own_address, "own_addresses", lambda targets: asked.append(targets))
    with contextlib.closing(held_port()) as nobody:
        proxy = "http://127.0.0.1:%d" % nobody.getsockname()[1]
        for url in ("http://203.0.113.5", "https://203.0.113.5"):
            transport = transport_to(url, proxies={"http": proxy, "https": proxy})
            with pytest.raises(errors.NotSent):
                transport.call(health())
            transport.own_addresses()
            assert asked.pop() == [(FOUR, nobody.getsockname())]
            transport.close()


def test_a_name_that_cannot_be_looked_up_any_more_keeps_its_last_address(monkeypatch):
    with ScriptedServer(answering(answer())) as server:
        transport = transport_to(server.url)
        transport.call(health())

    def fail(*_):
        raise socket.gaierror(socket.EAI_NONAME, "offline")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(errors.NotSent):
        transport.call(health())
    assert transport.own_addresses() == ("127.0.0.1",)
    transport.close()
