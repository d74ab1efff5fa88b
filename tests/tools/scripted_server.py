"""A server on 127.0.0.1 that runs a function of the test on each connection."""

from __future__ import absolute_import, division

import socket
import threading

from tools.http_wire import BrokenMessage, Wire
from tools.waiting import PATIENCE

OK_BODY = b'{"status":"ok"}\n'


def answer(status=200, body=OK_BODY, headers=()):
    """Return a whole HTTP/1.1 response as bytes."""
    lines = ["HTTP/1.1 %d Reason" % status, "Content-Length: %d" % len(body)]
    lines.extend("%s: %s" % header for header in headers)
    return "\r\n".join(lines + ["", ""]).encode("latin-1") + body


def answering(*responses):
    """Return a script that answers each request with the next response; the last repeats."""
    waiting = list(responses)

    def play(server, connection):
        for _ in server.requests_on(connection):
            connection.sendall(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    return play


class ScriptedServer(object):
    """Listens on a free port and plays `script(server, connection)` on each connection.

    :param tls: an SSLContext to wrap connections in, or None.
    :ivar requests: the requests that `requests_on` has read, in order.
    :ivar connections: how many were accepted.
    :ivar over: an event that is set when the test is done, for scripts that wait.
    """

    def __init__(self, script, tls=None):
        self.requests = []
        self.connections = 0
        self.over = threading.Event()
        self._script = script
        self._tls = tls
        self._open = []
        self._players = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]

    @property
    def url(self):
        return "%s://127.0.0.1:%d" % ("https" if self._tls else "http", self.port)

    def __enter__(self):
        self._thread = threading.Thread(target=self._accept)
        self._thread.daemon = True
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        # On Linux this wakes the accept; elsewhere the connection does.
        for end in [self._listener] + self._open:
            _shut(end)
        for player in [self._thread] + self._players:
            player.join(PATIENCE)
            assert not player.is_alive(), "a script did not end with its test"
        for end in [self._listener] + self._open:
            end.close()

    def requests_on(self, connection):
        """Yield the requests on a connection until the client closes it."""
        wire = Wire(connection)
        while True:
            request = wire.read_request()
            if request is None:
                return
            self.requests.append(request)
            yield request

    def read(self, connection):
        """Return the first request on a connection."""
        return next(self.requests_on(connection))

    def drip(self, connection, data, before_each):
        """Send data byte by byte, calling `before_each()` before each; then hang."""
        for index in range(len(data)):
            before_each()
            connection.sendall(data[index : index + 1])
        self.over.wait(PATIENCE)

    def _accept(self):
        while not self.over.is_set():
            try:
                connection, _ = self._listener.accept()
            except (OSError, IOError):
                return
            connection.settimeout(PATIENCE)
            self.connections += 1
            self._open.append(connection)
            player = threading.Thread(target=self._play, args=(connection,))
            player.daemon = True
            self._players.append(player)
            player.start()

    def _play(self, connection):
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self._script(self, connection)
        except (EnvironmentError, BrokenMessage):
            pass  # the client is gone, which some tests provoke
        finally:
            _shut(connection)


def reset(connection):
    """Close a connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def _shut(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except (OSError, IOError):
        pass
