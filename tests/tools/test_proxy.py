"""The fault proxy: each fault does what it says, and nothing else."""

from __future__ import absolute_import, division

import contextlib
import errno
import socket
import threading

import pytest
import requests
from six.moves.BaseHTTPServer import BaseHTTPRequestHandler, HTTPServer
from six.moves.socketserver import ThreadingMixIn

from tools import faults
from tools.exchange import Exchange
from tools.fault_proxy import FaultProxy
from tools.waiting import wait_until

BREAKS = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)


class Handler(BaseHTTPRequestHandler):
    """Applies every request; answers each POST with its number and each GET with 40 kB."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        BaseHTTPRequestHandler.setup(self)
        self.server.connections.append(self.client_address)

    def finish(self):
        BaseHTTPRequestHandler.finish(self)
        self.connection.shutdown(socket.SHUT_WR)
        self.server.ended += 1

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            self.server.torn.append(body)
            return
        self.server.applied.append(body)
        self.answer(200, b'{"number":%d}' % len(self.server.applied))

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "40000")
        self.end_headers()

    def do_GET(self):
        if self.path == "/missing":
            self.answer(404, b"Not found\n")
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        elif self.path == "/unbounded":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"to the end")
            self.close_connection = True
        else:
            self.answer(200, b"x" * 40000)
            self.close_connection = self.path == "/and-close"

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True

    def __init__(self):
        HTTPServer.__init__(self, ("127.0.0.1", 0), Handler)
        self.applied = []
        self.torn = []
        self.ended = 0
        self.connections = []

    def handle_error(self, request, client_address):
        """Ignore broken connections, which these tests provoke."""


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def proxy(server):
    with FaultProxy(server.server_address[1]) as standing:
        yield standing


@pytest.fixture
def slept(server, monkeypatch):
    """The pauses of faults, which take no time: pairs (seconds, requests applied before)."""
    pauses = []
    monkeypatch.setattr(
        Exchange, "sleep", lambda _, seconds: pauses.append((seconds, len(server.applied)))
    )
    return pauses


def post(http, proxy, body=b"body", timeout=60):
    return http.post(
        proxy.url + "/api/sessions/1/events", data=body, timeout=timeout, allow_redirects=False
    )


def test_without_rules_the_proxy_passes_everything_on_over_one_connection(server, proxy, http):
    assert [post(http, proxy, b"%d" % n).json()["number"] for n in range(3)] == [1, 2, 3]
    assert len(http.get(proxy.url + "/large").content) == 40000
    assert http.head(proxy.url + "/large").status_code == 200
    assert http.get(proxy.url + "/missing").status_code == 404
    assert server.applied == [b"0", b"1", b"2"]
    assert len(server.connections) == 1
    assert sum(proxy.struck.values()) == 0


@pytest.mark.parametrize(
    "path, content", [("/chunked", b"hello world"), ("/unbounded", b"to the end")]
)
def test_the_proxy_knows_where_every_kind_of_answer_ends(proxy, http, path, content):
    assert http.get(proxy.url + path).content == content
    assert post(http, proxy).status_code == 200


def test_the_log_shows_requests_outcomes_and_answers(proxy, http):
    proxy.rule(faults.LoseAnswer(), when=lambda request: request.number == 2)
    post(http, proxy, b"one")
    with pytest.raises(BREAKS):
        post(http, proxy, b"two")
    http.get(proxy.url + "/missing")
    assert [
        (
            seen.number,
            seen.method,
            seen.path,
            seen.body,
            seen.applied,
            seen.server_status,
            seen.status,
            seen.fault,
        )
        for seen in proxy.log
    ] == [
        (1, "POST", "/api/sessions/1/events", b"one", True, 200, 200, None),
        (2, "POST", "/api/sessions/1/events", b"two", True, 200, None, "lose_answer"),
        (3, "GET", "/missing", b"", False, 404, 404, None),
    ]


def test_a_request_cut_before_its_last_byte_is_not_applied(server, proxy, http):
    proxy.rule(faults.CutBeforeLastByte())
    with pytest.raises(BREAKS):
        post(http, proxy)
    wait_until(lambda: server.torn == [b"bod"])
    assert server.applied == []
    assert proxy.struck == {"cut_before_last_byte": 1}
    assert not proxy.log[0].applied


def test_a_lost_answer_was_applied(server, proxy, http):
    proxy.rule(faults.LoseAnswer())
    with pytest.raises(BREAKS):
        post(http, proxy)
    assert server.applied == [b"body"]
    assert proxy.struck == {"lose_answer": 1}


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_cut_answer_was_applied_and_does_not_arrive_whole(server, proxy, http, share):
    proxy.rule(faults.CutAnswer(share))
    try:
        # Not always an error: http.client accepts headers that end early, and
        # older versions of requests do not count a body's bytes.
        content = post(http, proxy).content
    except BREAKS:
        content = b""
    assert content != b'{"number":1}'
    assert server.applied == [b"body"]
    assert proxy.struck == {"cut_answer": 1}


def test_a_delay_delays_the_request_and_its_answer(proxy, http, slept):
    proxy.rule(faults.Delay(request=0.2, answer=0.3))
    assert post(http, proxy).status_code == 200
    assert slept == [(0.2, 0), (0.3, 1)]
    assert proxy.struck == {"delay": 1}


def is_closed(client):
    """Wait for the other end to close or reset a connection."""
    try:
        return client.recv(1) == b""
    except EnvironmentError as error:
        return error.errno == errno.ECONNRESET


def test_a_pause_lasts_until_its_time_is_over_or_the_connection_is(proxy, http):
    """The time is that of a threading.Event's wait."""
    proxy.rule(faults.Delay(request=0.01))
    assert post(http, proxy).status_code == 200
    proxy.clear()
    proxy.rule(faults.Delay(request=3600))
    with contextlib.closing(socket.create_connection(("127.0.0.1", proxy.port))) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        wait_until(lambda: proxy.struck == {"delay": 2})
        proxy.stop()
        assert is_closed(client)


def test_a_delayed_request_is_applied_though_the_client_gave_up(server, proxy, http, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(Exchange, "sleep", lambda *_: over.wait(60))
    proxy.rule(faults.Delay(request=3600))
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(http, proxy, timeout=0.1)
    assert server.applied == []
    over.set()
    wait_until(lambda: server.applied == [b"body"])


def test_a_throttled_line_keeps_its_rate(proxy, http, slept):
    proxy.rule(faults.Throttle(100000))
    assert len(http.get(proxy.url + "/large").content) == 40000
    # The request and both heads take a little, too.
    assert 0.4 <= sum(seconds for seconds, _ in slept) < 0.6
    assert proxy.struck == {"throttle": 1}


def test_a_dripping_answer_comes_in_pieces(proxy, http, slept):
    proxy.rule(faults.Drip(0.05, piece=20))
    answer = post(http, proxy)
    assert answer.status_code == 200
    assert len(slept) > len(answer.content) // 20
    assert set(slept) == {(0.05, 1)}
    assert proxy.struck == {"drip": 1}


@pytest.mark.parametrize("applied", [True, False])
def test_a_stalled_request_gets_no_answer(server, proxy, http, applied):
    proxy.rule(faults.Stall(applied))
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(http, proxy, timeout=0.3)
    wait_until(lambda: proxy.struck == {"stall": 1})
    assert server.applied == [b"body"] * applied
    assert proxy.log[0].applied == applied


def test_a_reset_request_never_reaches_the_server(server, proxy):
    proxy.rule(faults.Reset())
    with contextlib.closing(socket.create_connection(("127.0.0.1", proxy.port))) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        with pytest.raises(socket.error):
            client.recv(1)
    assert server.applied == []
    assert proxy.struck == {"reset": 1}


@pytest.mark.parametrize(
    "page, status, applied",
    [
        (faults.captive_portal(), 200, False),
        (faults.html_filter(451), 451, False),
        (faults.redirect("http://127.0.0.1:9/"), 302, False),
        (faults.busy(retry_after=7), 503, False),
        (faults.gateway_error(500, applied=True), 500, True),
        (faults.gateway_error(502, applied=False), 502, False),
        (faults.Answer(204), 204, False),
    ],
)
def test_the_proxys_own_pages_come_instead_of_the_servers(
    server, proxy, http, page, status, applied
):
    proxy.rule(page, times=1)
    answer = post(http, proxy)
    assert answer.status_code == status
    assert answer.content == page.body
    assert all(answer.headers[name] == value for name, value in page.headers)
    assert server.applied == [b"body"] * applied
    assert proxy.struck == {page.name: 1}
    assert (proxy.log[0].applied, proxy.log[0].status) == (applied, status)
    assert post(http, proxy).json() == {"number": 1 + applied}


def test_an_answer_of_the_proxy_may_never_end(proxy, http):
    def for_ever(_):
        while True:
            yield b"x" * 1000

    proxy.rule(faults.Answer(200, for_ever))
    with contextlib.closing(http.get(proxy.url, stream=True)) as answer:
        assert len(answer.raw.read(1000000)) == 1000000


def test_rules_strike_by_number_method_path_and_body(server, proxy, http):
    proxy.rule(faults.busy().named("by_number"), when=lambda request: request.number == 1)
    proxy.rule(faults.busy().named("by_method"), when=lambda request: request.method == "GET")
    proxy.rule(faults.busy().named("by_path"), when=lambda request: request.path == "/p")
    proxy.rule(faults.busy().named("by_body"), when=lambda request: b"poison" in request.body)
    post(http, proxy)
    http.get(proxy.url)
    http.post(proxy.url + "/p")
    post(http, proxy, b"a poison pill")
    post(http, proxy, b"good")
    assert proxy.struck == {"by_number": 1, "by_method": 1, "by_path": 1, "by_body": 1}
    assert server.applied == [b"good"]


def test_a_rule_can_be_limited_and_rules_can_be_cleared(proxy, http):
    proxy.rule(faults.busy(), times=2)
    assert [post(http, proxy).status_code for _ in range(3)] == [503, 503, 200]
    proxy.rule(faults.busy())
    assert post(http, proxy).status_code == 503
    proxy.clear()
    assert post(http, proxy).status_code == 200


def test_one_in_ten_strikes_about_a_tenth_and_is_repeatable():
    def draws():
        holds = faults.one_in(10, seed=3)
        return [holds(None) for _ in range(1000)]

    assert 60 < sum(draws()) < 140
    assert draws() == draws()


def test_a_rule_strikes_as_often_with_many_threads(server, proxy):
    proxy.rule(faults.LoseAnswer(), when=lambda request: request.number % 4 == 0)
    lost = []

    def work():
        with requests.Session() as http:
            http.trust_env = False
            for _ in range(20):
                try:
                    post(http, proxy)
                except BREAKS:
                    lost.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lost) == proxy.struck["lose_answer"] == 20
    assert len(server.applied) == len(proxy.log) == 80
    assert sorted(seen.number for seen in proxy.log) == list(range(1, 81))


def test_a_refusing_port_refuses_and_breaks_open_connections(proxy, http):
    post(http, proxy)
    proxy.refuse()
    with pytest.raises(requests.exceptions.ConnectionError):
        post(http, proxy)
    with pytest.raises(socket.error):
        socket.create_connection(("127.0.0.1", proxy.port), 60)
    proxy.heal()
    assert post(http, proxy).status_code == 200
    assert proxy.struck["refuse"] == 1


def test_a_partition_keeps_connections_and_delivers_late(server, proxy, http):
    post(http, proxy)
    proxy.partition()
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(http, proxy, b"late", timeout=0.2)
    assert server.applied == [b"body"]
    proxy.heal()
    wait_until(lambda: server.applied == [b"body", b"late"])
    assert proxy.struck == {"partition": 1}


def test_a_black_hole_accepts_and_never_answers(server, proxy, http):
    proxy.black_hole()
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(http, proxy, timeout=0.2)
    proxy.heal()
    assert post(http, proxy).status_code == 200
    assert server.applied == [b"body"]
    assert proxy.struck == {"black_hole": 1}


def test_a_partition_can_turn_into_a_refusing_port(proxy, http):
    proxy.partition()
    with pytest.raises(requests.exceptions.ReadTimeout):
        post(http, proxy, timeout=0.2)
    proxy.refuse()
    with pytest.raises(requests.exceptions.ConnectionError):
        post(http, proxy)
    proxy.heal()
    assert post(http, proxy).status_code == 200


def test_large_bodies_are_cut_off_before_the_client_has_sent_them(server, proxy):
    proxy.cut_bodies(100000)
    with contextlib.closing(socket.create_connection(("127.0.0.1", proxy.port))) as client:
        head = b"POST / HTTP/1.1\r\nContent-Length: 700000\r\n\r\n"
        with pytest.raises(socket.error):
            client.sendall(head + b"x" * 700000)
    assert (proxy.struck["cut_body"], server.applied) == (1, [])
    assert requests.post(proxy.url, data=b"x" * 99999).status_code == 200
    assert proxy.struck["cut_body"] == 1


def test_a_server_that_is_away_is_a_broken_connection(http):
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        with FaultProxy(unused.getsockname()[1]) as proxy:
            with pytest.raises(BREAKS):
                post(http, proxy)
            assert proxy.struck == {"server_unreachable": 1}
            assert proxy.log[0].applied is False


def test_a_server_that_closes_idle_connections_is_connected_to_again(server, proxy, http):
    assert len(http.get(proxy.url + "/and-close").content) == 40000
    wait_until(lambda: server.ended == 1)
    assert post(http, proxy).status_code == 200
    assert len(server.connections) == 2


def test_a_stopped_proxy_leaves_no_thread(server):
    before = threading.active_count()
    proxy = FaultProxy(server.server_address[1]).start()
    proxy.rule(faults.Stall())
    with contextlib.closing(socket.create_connection(("127.0.0.1", proxy.port))) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_until(lambda: proxy.struck["stall"])
        proxy.stop()
    assert threading.active_count() == before
