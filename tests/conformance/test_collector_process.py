"""What the collector promises beyond the real servers, tested as a process."""

from __future__ import absolute_import, division

import re
import socket
import sqlite3
import threading

import pytest
import requests
from asking import Server, refusal, words, zipped
from tools.collector_process import LISTENING, CollectorProcess, collector_python
from tools.process import ChildProcess, environment

MEBIBYTE = 1024 * 1024


def names(server, session_id):
    return [event["name"] for event in server.session(session_id)["events"]]


def test_a_record_answered_with_200_survives_a_kill(any_own_collector, ask):
    """The kill follows the answer at once, several times."""
    session_id = ask(any_own_collector).create()
    written = []
    for number in range(4):
        ask(any_own_collector).accepted(session_id, "events", {"name": "event %d" % number})
        any_own_collector.kill()
        written.append("event %d" % number)
        any_own_collector.start()
    assert names(ask(any_own_collector), session_id) == written


class Writers(object):
    """Threads that write numbered events until the collector is gone, and note the answers."""

    def __init__(self, url, session_id, count=4):
        self.answered, self.refused = [], []
        self._url, self._session_id = url, session_id
        self._enough = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, writer):
        try:
            with Server(self._url) as own:
                for number in range(100000):
                    name = "%d:%d" % (writer, number)
                    own.accepted(self._session_id, "events", {"name": name})
                    self.answered.append(name)
                    if len(self.answered) >= 100:
                        self._enough.set()
        except requests.RequestException:
            self.refused.append(writer)

    def wait_for_some(self):
        assert self._enough.wait(60)

    def join(self):
        """Wait until all have noticed that the collector is gone."""
        for thread in self._threads:
            thread.join()
        assert len(self.refused) == len(self._threads)


def test_a_kill_during_writes_loses_no_answered_record_and_doubles_none(own_collector, ask):
    session_id = ask(own_collector).create()
    writers = Writers(own_collector.url, session_id)
    writers.wait_for_some()
    own_collector.kill()
    writers.join()
    own_collector.start()
    held = names(ask(own_collector), session_id)
    assert set(writers.answered) <= set(held)
    assert len(held) == len(set(held))
    # At most one request of each writer was stored without an answer.
    assert len(held) - len(writers.answered) <= len(writers.refused)


def test_on_sigterm_it_answers_every_request_that_it_has_stored(own_collector, ask):
    for _ in range(3):
        session_id = ask(own_collector).create()
        writers = Writers(own_collector.url, session_id)
        writers.wait_for_some()
        own_collector.stop()
        writers.join()
        own_collector.start()
        assert sorted(writers.answered) == sorted(names(ask(own_collector), session_id))


def test_sessions_are_the_same_after_a_restart(any_own_collector, ask):
    server = ask(any_own_collector)
    session_id = server.create()
    server.accepted(session_id, "state", {"a": {"b": 1}, "big": 1e21})
    server.accepted(session_id, "events", {"name": "before"})
    server.accepted(session_id, "metrics", {"name": "before", "value": 0.1})
    server.accepted(session_id, "end", {})
    before = server.text(session_id)
    any_own_collector.stop()
    any_own_collector.start()
    after = ask(any_own_collector)
    assert after.text(session_id) == before
    after.accepted(session_id, "events", {"name": "after"})
    assert names(after, session_id) == ["before", "after"]


def serve(*arguments):
    return ChildProcess(
        [collector_python(), "-m", "datacat", "serve"] + list(arguments), environment()
    )


def test_it_ends_with_exit_code_0_when_asked_to(tmp_path):
    process = serve("--port", "0", "--db", str(tmp_path / "c.db"))
    try:
        process.wait_for_line(LISTENING, 60)
        process.terminate()
        assert process.returncode == 0
        assert len(process.output.splitlines()) == 1, process.output
    finally:
        process.close()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--db", "sqlite://"], "a database in memory would lose"),
        (["--db", "nonsense://"], "nonsense"),
        (["--db", "/no/such/folder/c.db"], "/no/such/folder"),
        (["--classic", "--api-key", "k"], "classic servers have no API keys"),
        (["--api-key", ""], "cannot be sent in a header"),
        (["--api-key", "key "], "cannot be sent in a header"),
        (["--api-key", "k\n"], "cannot be sent in a header"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1"),
    ],
)
def test_it_explains_invalid_settings_in_one_line(tmp_path, arguments, said):
    given = ["--port", "0", "--db", str(tmp_path / "c.db")] + arguments
    process = serve(*given)
    try:
        assert process.wait(60) == 1
        assert process.output.startswith("datacat serve: ")
        assert said in process.output and len(process.output.splitlines()) == 1
    finally:
        process.close()


def test_it_says_that_the_port_is_taken(own_collector, tmp_path):
    process = serve("--port", str(own_collector.port), "--db", str(tmp_path / "c.db"))
    try:
        assert process.wait(60) == 1
        assert "cannot listen on 127.0.0.1 port %d" % own_collector.port in process.output
    finally:
        process.close()


def test_a_database_belongs_to_one_generation(own_collector):
    own_collector.stop()
    process = serve("--port", "0", "--classic", "--db", own_collector.db)
    try:
        assert process.wait(60) == 1
        assert "choose another with --db" in process.output
    finally:
        process.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A running collector that requires a key, shared by these tests."""
    db = tmp_path_factory.mktemp("guarded") / "collector.db"
    with CollectorProcess(db, api_key="s3cret") as process:
        yield process


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer wrong", "bearer s3cret", "Bearer s3cret2", "Basic s3cret", "s3cret"],
)
def test_without_the_key_everything_but_health_is_unauthorized(guarded, ask, header):
    server = ask(guarded)
    headers = {} if header is None else {"Authorization": header}
    for method, path in [
        ("POST", "/api/sessions"),
        ("GET", "/api/data/sessions"),
        ("GET", "/nowhere"),
        ("POST", "/api/sessions/x/events"),
    ]:
        assert words(server.ask(method, path, None, headers)) == refusal(401, "Unauthorized")
    assert server.ask("GET", "/health", None, headers).status_code == 200


def test_with_the_key_everything_works(guarded, ask):
    server = ask(guarded, api_key="s3cret")
    session_id = server.create()
    server.accepted(session_id, "events", {"name": "allowed"})
    assert names(server, session_id) == ["allowed"]


def test_a_gzip_bomb_is_refused(fresh_collector, ask):
    server = ask(fresh_collector)
    session_id = server.create()
    bomb = zipped(b'{"name":"' + b"x" * (80 * MEBIBYTE) + b'"}')
    assert len(bomb) < MEBIBYTE
    answer = server.ask(
        "POST", "/api/sessions/%s/events" % session_id, bomb, {"Content-Encoding": "gzip"}
    )
    assert words(answer) == refusal(413, "Request body too large")
    assert names(server, session_id) == []


def raw(collector, request):
    """Send `request` (bytes); return all bytes until the connection is closed."""
    connection = socket.create_connection(("127.0.0.1", collector.port), timeout=60)
    try:
        connection.sendall(request)
        received = b""
        while True:
            more = connection.recv(65536)
            if not more:
                return received
            received += more
    finally:
        connection.close()


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(fresh_collector):
    answer = raw(
        fresh_collector,
        b"POST /api/sessions HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: %d\r\n\r\n" % (64 * MEBIBYTE + 1),
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9 x\r\n\r\n",
        b"POST /api/sessions HTTP/1.1\r\nContent-Length: x" b"\r\n\r\n",
    ],
)
def test_a_request_that_is_not_http_is_refused_in_plain_text(fresh_collector, ask, request_bytes):
    answer = raw(fresh_collector, request_bytes)
    assert re.match(br"HTTP/1\.[01] 400 ", answer)
    assert b"Content-Type: text/plain" in answer and b"Traceback" not in answer
    assert ask(fresh_collector).generation == "v1"


def test_a_chunked_body_is_accepted(fresh_collector, ask):
    server = ask(fresh_collector)
    session_id = server.create()
    body = b'{"name":"chunked"}'
    answer = raw(
        fresh_collector,
        b"POST /api/sessions/"
        + session_id.encode("ascii")
        + b"/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in bytearray(body))
        + b"0\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert names(server, session_id) == ["chunked"]


def test_a_database_error_is_answered_in_one_line_of_text(own_collector, ask, tmp_path):
    """Never HTML, never a traceback; the client takes it for the server's failure."""
    server = ask(own_collector)
    session_id = server.create()
    connection = sqlite3.connect(own_collector.db)
    connection.execute("ALTER TABLE records RENAME TO gone")
    connection.commit()
    connection.close()
    answer = server.post(session_id, "events", {"name": "unwritten"})
    assert words(answer) == refusal(500, "Internal Server Error")
