# -*- coding: utf-8 -*-
"""Promises about the key, TLS and proxies: who gets the key, whom the client talks to, and how."""

from __future__ import absolute_import, division

import base64
import datetime
import logging
import ssl
import traceback
import warnings

import pytest
import six
from tools.scripted_server import ScriptedServer, answer, answering, reset
from tools.waiting import PATIENCE

from datacat.errors import CutShort, DatacatError, NotSent, OutcomeUnknown, TlsFailure
from datacat.wire import answers
from datacat.wire.dialects import Request

EVENT = Request("POST", "/api/sessions/1/events", b'{"name":"e","data":{}}', False)
KEY = "hunter2-hunter2"


@pytest.fixture
def connect(connect):
    """Makes transports with a key: connect(server or URL, **settings)."""

    def make(server, **options):
        options.setdefault("api_key", KEY)
        return connect(server, **options)

    return make


# The key


@pytest.mark.parametrize("key", [None, KEY])
def test_a_netrc_never_replaces_the_key_and_never_adds_one(connect, monkeypatch, tmp_path, key):
    netrc = tmp_path / "netrc"
    netrc.write_text(u"machine 127.0.0.1 login tom password jerry\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(answering(answer(307, b"", [("Location", "/x")]))) as server:
        connect(server, api_key=key).call(EVENT)
        sent = server.requests[0].headers.get("authorization")
    assert sent == (None if key is None else "Bearer " + key)


def echoing_the_key(status, kind):
    body = ("<h1>you sent Bearer %s</h1>" % KEY).encode("ascii")
    return answering(answer(status, body, [("Content-Type", kind)]))


def unreachable(connect):
    return pytest.raises(NotSent, connect("http://127.0.0.1:1").call, EVENT).value


def disconnected(connect):
    with ScriptedServer(lambda server, connection: server.read(connection)) as server:
        return pytest.raises(OutcomeUnknown, connect(server).call, EVENT).value


def meaningless(response):
    return pytest.raises(DatacatError, answers.answer, EVENT, response).value


def refused_with_our_own_words(connect):
    with ScriptedServer(echoing_the_key(403, "text/html")) as server:
        return meaningless(connect(server).call(EVENT))


def answered_by_a_portal(connect):
    with ScriptedServer(echoing_the_key(200, "text/html")) as server:
        return meaningless(connect(server).call(EVENT))


def answered_by_an_echo(connect):
    body = ('{"headers":{"Authorization":"Bearer %s"}}' % KEY).encode("ascii")
    echo = answer(200, body, [("Content-Type", "application/json")])
    with ScriptedServer(answering(echo)) as server:
        return meaningless(connect(server).call(EVENT))


@pytest.mark.parametrize(
    "fail",
    [
        unreachable,
        disconnected,
        refused_with_our_own_words,
        answered_by_a_portal,
        answered_by_an_echo,
    ],
    ids=lambda fail: fail.__name__,
)
def test_the_key_is_in_no_error_no_traceback_and_no_log(connect, caplog, fail):
    caplog.set_level(logging.DEBUG)
    error = fail(connect)
    shown = [str(error), repr(error), repr(vars(error)), caplog.text]
    if six.PY3:
        # A context would refer to requests' error, and that to the headers.
        assert error.__context__ is None and error.__cause__ is None
        shown += traceback.format_exception(type(error), error, error.__traceback__)
        shown += [repr(frame.tb_frame.f_locals) for frame in frames(error.__traceback__)]
    assert KEY not in "".join(shown)


def frames(trace):
    while trace is not None:
        if "datacat" in trace.tb_frame.f_code.co_filename.split("tests")[0]:
            yield trace
        trace = trace.tb_next


def test_the_key_is_in_no_repr(connect):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        response = wire.call(EVENT)
    assert KEY not in repr(wire) + str(wire) + repr(response)


def test_a_session_that_contains_the_keys_text_is_returned_unchanged(connect):
    body = ('{"id":"1","state":{"x":"%s"}}' % KEY).encode("ascii")
    json_body = answer(200, body, [("Content-Type", "application/json")])
    with ScriptedServer(answering(json_body)) as server:
        assert connect(server).call(EVENT).body == body


# TLS


@pytest.fixture(scope="module")
def authority():
    return pytest.importorskip("trustme").CA()


@pytest.fixture
def trusted(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def serving(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_a_trusted_server_gets_the_request(authority, connect, trusted):
    tls = serving(authority.issue_cert("127.0.0.1"))
    with ScriptedServer(answering(answer()), tls) as server:
        wire = connect(server, verify=trusted)
        assert [wire.call(EVENT).status for _ in range(2)] == [200, 200]
        assert server.connections == 1
        assert server.requests[0].headers["authorization"] == "Bearer " + KEY


def test_a_request_that_breaks_off_in_the_middle_says_nothing_about_trust(
    authority, connect, trusted
):
    def reading_little(server, connection):
        connection.recv(1000)
        reset(connection)

    tls = serving(authority.issue_cert("127.0.0.1"))
    with ScriptedServer(reading_little, tls) as server:
        large = EVENT._replace(body=b" " * 16 * 1024 * 1024)
        pytest.raises(CutShort, connect(server, verify=trusted).call, large)


def wrong_name(authority):
    return authority.issue_cert("cats.example")


def expired(authority):
    return authority.issue_cert("127.0.0.1", not_after=datetime.datetime(2020, 1, 1))


def unknown_authority(_):
    import trustme

    return trustme.CA().issue_cert("127.0.0.1")


@pytest.mark.parametrize(
    "certificate",
    [wrong_name, expired, unknown_authority],
    ids=lambda certificate: certificate.__name__,
)
def test_a_server_that_is_not_trusted_gets_nothing(authority, connect, trusted, certificate):
    tls = serving(certificate(authority))
    with ScriptedServer(answering(answer()), tls) as server:
        error = pytest.raises(TlsFailure, connect(server, verify=trusted).call, EVENT).value
        assert (server.connections, server.requests) == (1, [])
    assert "certificate" in str(error).lower()


def test_a_server_of_no_known_authority_is_not_trusted_by_default(authority, connect):
    with ScriptedServer(answering(answer()), serving(authority.issue_cert("127.0.0.1"))) as server:
        pytest.raises(TlsFailure, connect(server).call, EVENT)
        assert server.requests == []


@pytest.mark.filterwarnings("error")
def test_verify_false_accepts_any_certificate_without_a_warning(authority, connect):
    with ScriptedServer(answering(answer()), serving(wrong_name(authority))) as server:
        wire = connect(server, verify=False)
        assert [wire.call(EVENT).status for _ in range(2)] == [200, 200]


def test_a_warning_that_became_an_error_is_a_failed_request_like_any_other(
    authority, connect, trusted, monkeypatch
):
    """Here urllib3's, that the clock must be wrong."""
    with ScriptedServer(answering(answer()), serving(authority.issue_cert("127.0.0.1"))) as server:
        wire = connect(server, verify=trusted)
        with warnings.catch_warnings(), monkeypatch.context() as patch:
            patch.setattr("urllib3.connection.RECENT_DATE", datetime.date.max)
            warnings.simplefilter("error")
            error = pytest.raises(NotSent, wire.call, EVENT).value
        assert "System time" in str(error) and server.requests == []
        assert wire.call(EVENT).status == 200


def test_a_server_without_tls_gets_no_request_over_https(connect):
    received = []

    def play(_, connection):
        received.append(connection.recv(65536))
        connection.sendall(answer(400))

    with ScriptedServer(play) as server:
        error = pytest.raises(
            TlsFailure, connect(server.url.replace("http:", "https:")).call, EVENT
        ).value
    assert "does not speak TLS" in str(error) and "use http://" in str(error)
    assert received and b"POST" not in b"".join(received)


@pytest.mark.parametrize(
    "options", [{"verify": "/nowhere/ca.pem"}, {"cert": "/nowhere/c.pem"}], ids=repr
)
def test_a_missing_certificate_file_is_named(connect, options):
    error = pytest.raises(TlsFailure, connect("https://127.0.0.1:1", **options).call, EVENT).value
    assert "/nowhere" in str(error)


def test_a_handshake_that_is_never_answered_ends_with_the_call(connect):
    """The server waits longer than that, and the call's other bounds are even longer."""
    with ScriptedServer(lambda server, _: server.over.wait(PATIENCE)) as server:
        wire = connect(server.url.replace("http:", "https:"), timeout=60)
        error = pytest.raises(NotSent, wire.call, EVENT, deadline=0.4).value
    assert type(error) is NotSent and "deadline of 0.4 s has passed" in str(error)


@pytest.mark.parametrize(
    "head, dripped",
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 5),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b" " * 30),
    ],
    ids=["headers", "body"],
)
def test_a_dripped_answer_over_tls_ends_at_the_deadline(
    authority, clock, connect, trusted, head, dripped
):
    def play(server, connection):
        server.read(connection)
        connection.sendall(head)
        server.drip(connection, dripped, clock.tick)

    with ScriptedServer(play, serving(authority.issue_cert("127.0.0.1"))) as server:
        wire = connect(server, verify=trusted)
        error = pytest.raises(OutcomeUnknown, wire.call, EVENT, deadline=80).value
    assert "deadline of 80 s" in str(error)


def test_a_large_request_over_tls_arrives_whole(authority, connect, trusted):
    large = EVENT._replace(body=b"x" * 10**6)
    with ScriptedServer(answering(answer()), serving(authority.issue_cert("127.0.0.1"))) as server:
        assert connect(server, verify=trusted).call(large).status == 200
        assert server.requests[0].body == large.body


# Proxies


def test_a_proxy_from_the_environment_is_used(connect, monkeypatch):
    with ScriptedServer(answering(answer())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//tom:jerry@"))
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//tom:jerry@"))
        assert connect("http://cats.invalid").call(EVENT).status == 200
        request = proxy.requests[0]
    assert request.path == "http://cats.invalid" + EVENT.path
    assert request.headers["authorization"] == "Bearer " + KEY
    credentials = base64.b64encode(b"tom:jerry").decode("ascii")
    assert request.headers["proxy-authorization"] == "Basic " + credentials


@pytest.mark.parametrize("no_proxy, options", [("127.0.0.1", {}), ("", {"trust_env": False})])
def test_the_environments_proxy_is_not_used_where_it_is_turned_off(
    connect, monkeypatch, no_proxy, options
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    with ScriptedServer(answering(answer())) as server:
        assert connect(server, **options).call(EVENT).status == 200


def test_a_given_proxy_is_used(connect):
    with ScriptedServer(answering(answer())) as proxy:
        wire = connect("http://cats.invalid", proxies={"http": proxy.url})
        assert wire.call(EVENT).status == 200
        assert len(proxy.requests) == 1


def test_the_environment_is_read_again_after_a_failure_to_connect(connect, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with ScriptedServer(answering(answer())) as proxy:
        wire = connect("http://cats.invalid")
        pytest.raises(NotSent, wire.call, EVENT)
        monkeypatch.setenv("http_proxy", proxy.url)
        pytest.raises(NotSent, wire.call, EVENT)
        assert wire.call(EVENT).status == 200


def test_a_proxy_that_refuses_the_tunnel_gets_no_key_and_nothing_was_sent(connect):
    refusal = answer(407, b"")
    with ScriptedServer(answering(refusal)) as proxy:
        proxies = {"https": proxy.url.replace("//", "//tom:jerry@")}
        error = pytest.raises(
            NotSent, connect("https://cats.invalid", proxies=proxies).call, EVENT
        ).value
        heads = b"".join(request.head for request in proxy.requests)
    assert b"CONNECT cats.invalid:443" in heads and KEY.encode("ascii") not in heads
    assert "407" in str(error) and "jerry" not in str(error)


def test_a_tunnel_with_a_dripped_answer_ends_at_the_deadline(clock, connect):
    def play(server, connection):
        server.read(connection)
        server.drip(connection, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5, clock.tick)

    with ScriptedServer(play) as proxy:
        wire = connect("https://cats.invalid", proxies={"https": proxy.url})
        error = pytest.raises(NotSent, wire.call, EVENT, deadline=80).value
    assert "deadline of 80 s has passed" in str(error)


def test_an_invalid_proxy_address_is_reported_without_its_password(connect):
    wire = connect("http://cats.invalid", proxies={"http": "http://tom:jerry@:x"})
    error = pytest.raises(NotSent, wire.call, EVENT).value
    assert "jerry" not in str(error) + repr(error)
