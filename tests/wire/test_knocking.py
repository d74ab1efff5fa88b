"""Promises about knocking: whether anybody listens, found without requests, in the same words."""

from __future__ import absolute_import, division

import contextlib
import socket

import pytest
from tools.ports import held_port
from tools.scripted_server import ScriptedServer, answer, answering
from tools.swallowing import SWALLOWS, Swallowing

from datacat import errors, settings
from datacat.wire import importing, knocking
from datacat.wire.dialects import Request, health

EVENT = Request("POST", "/api/sessions/1/events", b'{"name":"e","data":{}}', False)


@pytest.fixture
def knocks(monkeypatch):
    """As if requests were not imported yet; a list of the knocks at servers."""
    made = []
    knock = knocking.knock

    def noting(*arguments):
        made.append(arguments)
        return knock(*arguments)

    monkeypatch.setattr(knocking, "knock", noting)
    monkeypatch.setattr(importing, "is_pending", lambda: True)
    return made


@pytest.fixture
def by_requests(knocks, monkeypatch):
    """Call it to have requests find out what has been found out by knocking before."""
    return lambda: monkeypatch.setattr(importing, "is_pending", lambda: False)


def told(wire, call):
    error = pytest.raises(errors.NotSent, call, wire).value
    assert type(error) is errors.NotSent
    return error


CALLS = {
    "a call": lambda wire: wire.call(EVENT),
    "a window": lambda wire: window_error(wire),
}


def window_error(wire):
    found, error = wire.call_all([EVENT, EVENT], connects=True)
    assert found == []
    raise error


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("call", sorted(CALLS))
def test_a_refused_connection_is_told_as_requests_would_tell_it(
    scheme, call, connect, knocks, by_requests
):
    with contextlib.closing(held_port()) as held:
        url = "%s://127.0.0.1:%d" % (scheme, held.getsockname()[1])
        knocked = told(connect(url), CALLS[call])
        assert len(knocks) == 1
        by_requests()
        assert str(told(connect(url), CALLS[call])) == str(knocked)
    assert "refused" in str(knocked)
    assert (knocked.method, knocked.path) == ("POST", EVENT.path)


def test_a_name_without_an_address_is_told_as_requests_would_tell_it(
    connect, by_requests, monkeypatch
):
    def fail(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    knocked = told(connect("http://cats.invalid"), CALLS["a call"])
    by_requests()
    assert str(told(connect("http://cats.invalid"), CALLS["a call"])) == str(knocked)
    assert "Name or service not known" in str(knocked)


@SWALLOWS
@pytest.mark.parametrize("bound", ["timeout", "deadline"])
def test_where_packets_vanish_it_is_told_as_requests_would_tell_it(bound, connect, by_requests):
    with Swallowing() as hole:
        knocked = told(connect(hole.url, **{bound: 0.1}), CALLS["a call"])
        by_requests()
        assert str(told(connect(hole.url, **{bound: 0.1}), CALLS["a call"])) == str(knocked)
    assert {"timeout": "timed out", "deadline": "the deadline of"}[bound] in str(knocked)


@pytest.mark.parametrize("call", ["a call", "a window"])
def test_the_first_request_has_the_connection_of_the_knock(call, connect, knocks):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        if call == "a call":
            wire.call(EVENT)
        else:
            assert wire.call_all([EVENT, EVENT], connects=True)[1] is None
        wire.call(health())
        assert server.connections == len(knocks) == 1


def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used(
    connect, knocks, monkeypatch
):
    def play(server, connection):
        for _ in server.requests_on(connection):
            connection.sendall(answer())

    def import_late():
        # Until the end of the first connection shows.
        knocks_made[0]._dialed.recv(1, socket.MSG_PEEK)
        return exchanges

    exchanges, knocks_made = importing.exchanges(), []
    init = knocking.Knock.__init__

    def noting(knock, dialed):
        init(knock, dialed)
        knocks_made.append(knock)

    monkeypatch.setattr(knocking.Knock, "__init__", noting)
    monkeypatch.setattr(importing, "exchanges_late", import_late)
    scripts = [lambda server, connection: None, play]
    with ScriptedServer(lambda *arguments: scripts.pop(0)(*arguments)) as server:
        assert connect(server).call(EVENT).status == 200
        assert server.connections == 2


def test_a_short_look_makes_a_connection_of_its_own(connect, knocks):
    """Its receive buffer has to be small before it connects."""
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT, is_short=True)
        wire.call(EVENT)
        assert server.connections == 2 and len(knocks) == 1


def test_a_window_that_may_not_connect_does_not_knock(connect, knocks):
    with ScriptedServer(answering(answer())) as server:
        assert connect(server).call_all([EVENT]) == ([], None)
        assert server.connections == 0 and not knocks


def test_if_requests_cannot_be_imported_nothing_was_sent(connect, knocks, monkeypatch):
    def fail():
        raise ImportError("No module named requests")

    monkeypatch.setattr(importing, "exchanges_late", fail)
    with ScriptedServer(answering(answer())) as server:
        error = told(connect(server), CALLS["a call"])
        assert "cannot import requests, nothing was sent: No module named requests" in str(error)
        assert server.requests == []


PROXIED = [
    ({}, {"http": "http://proxy:3128"}, True),
    ({}, {"all": "socks5://proxy:1080"}, True),
    ({"HTTP_PROXY": "http://proxy:3128"}, None, True),
    ({"https_proxy": "http://proxy:3128"}, None, True),
    ({"all_proxy": "socks5://proxy:1080"}, None, True),
    ({"http_proxy": "", "NO_PROXY": "localhost"}, None, False),
    ({}, None, False),
]


@pytest.mark.parametrize("environment, proxies, may_be_proxied", PROXIED)
def test_nobody_knocks_at_a_server_behind_a_proxy(
    environment, proxies, may_be_proxied, monkeypatch
):
    monkeypatch.setattr(knocking.sys, "platform", "linux")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = settings.resolve("http://cats.invalid", proxies=proxies)
    assert knocking.tells(found) is not may_be_proxied
    found = settings.resolve("http://cats.invalid", proxies=proxies, trust_env=False)
    assert knocking.tells(found) is not bool(proxies)


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_proxies_in_the_systems_settings_count(system, monkeypatch):
    from six.moves.urllib import request

    monkeypatch.setattr(knocking.sys, "platform", system)
    found = settings.resolve("http://cats.invalid")
    monkeypatch.setattr(request, "getproxies", lambda: {})
    assert knocking.tells(found)
    monkeypatch.setattr(request, "getproxies", lambda: {"http": "http://proxy:3128"})
    assert not knocking.tells(found)
