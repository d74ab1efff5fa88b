"""The sink's program: answers at once like a datacat server, with a thread per connection.

Its arguments are "v1" or "classic" and a port; it prints the port and ends when its standard
input does.  Belongs here: answers, three counts and two times.  Does not: keeping records,
but for the first few events of each session.
"""

from __future__ import absolute_import, division

import collections
import json
import socket
import sys
import threading
from timeit import default_timer

_SESSION = {
    "id": "00000000-0000-4000-8000-000000000000",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "active": True,
    "state": {},
    "events": [],
    "metrics": [],
}
_V1_FIELDS = {"suspended": False, "crashed": False, "hung": False, "state_history": []}
_HEALTH = {"service": "datacat-server", "status": "healthy", "version": "1.0.0"}


# A client compares its first windows with them.
_EVENTS_KEPT = 64


class Sink(object):
    """Serves one generation, "v1" or "classic", until it is killed."""

    def __init__(self, generation, port):
        self._received = {"requests": 0, "wire_bytes": 0, "body_bytes": 0}
        self._events_span = ()
        self._events = collections.defaultdict(list)
        self._is_classic = generation == "classic"
        self._ok = _answer({"status": "ok"})
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]

    def serve(self):
        """Accept connections, each in a daemon thread."""
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _start(self._converse, connection)

    def _converse(self, connection):
        waiting = b""
        try:
            while True:
                data = connection.recv(65536)
                if not data:
                    return
                waiting = self._take_requests(connection, waiting + data)
        except EnvironmentError:
            pass  # the client is gone, as measured programs may be
        finally:
            connection.close()

    def _take_requests(self, connection, waiting):
        while True:
            head, end, rest = waiting.partition(b"\r\n\r\n")
            length = _content_length(head) if end else 0
            if not end or len(rest) < length:
                return waiting
            if not head.startswith(b"GET /received "):
                self._count(head, length, rest[:length])
            connection.sendall(self._answer_to(head))
            waiting = rest[length:]

    def _count(self, head, length, body):
        self._received["requests"] += 1
        self._received["wire_bytes"] += len(head) + 4 + length
        self._received["body_bytes"] += length
        if b"/events " in head[:200]:
            now = default_timer()
            self._events_span = (self._events_span or (now,))[0], now
            session = head.split(b"/", 4)[3]
            if len(self._events[session]) < _EVENTS_KEPT and body[:1] == b"{":
                self._events[session].append(_as_stored(json.loads(body.decode("ascii"))))

    def _told(self):
        span, self._events_span = self._events_span, ()
        return dict(self._received, events_seconds=span[-1] - span[0] if span else 0.0)

    def _session(self, key):
        """Return a session as the server has it, as far as a client looks."""
        fields = dict(_SESSION if self._is_classic else dict(_V1_FIELDS, **_SESSION))
        return dict(fields, id=key.decode("ascii"), events=self._events[key])

    def _answer_to(self, head):
        if head.startswith(b"GET /received "):
            return _answer(self._told())
        if head.startswith(b"GET /health "):
            return _NOT_FOUND if self._is_classic else _answer(_HEALTH)
        if head.startswith(b"GET "):
            return _answer(self._session(head.split(b" ")[1].rsplit(b"/", 1)[1]))
        if head.startswith(b"POST /api/sessions "):
            return _answer(
                {"session_id": "%08x-0000-4000-8000-000000000000" % self._received["requests"]}
            )
        return self._ok


def _as_stored(event):
    """Return an event with its fields in a server's order."""
    first = [(name, event.pop(name)) for name in ("timestamp", "name") if name in event]
    return collections.OrderedDict(first + sorted(event.items()))


_NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 10\r\n\r\nNot found\n"
)


def _answer(fields):
    body = json.dumps(fields).encode("ascii")
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return (head % len(body)).encode("ascii") + body


def _content_length(head):
    _, found, after = head.lower().partition(b"\r\ncontent-length:")
    return int(after.split(b"\r\n", 1)[0]) if found else 0


def _start(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.daemon = True
    thread.start()


if __name__ == "__main__":
    sink = Sink(sys.argv[1], int(sys.argv[2]))
    sys.stdout.write("%d\n" % sink.port)
    sys.stdout.flush()
    _start(sink.serve)
    sys.stdin.read()
