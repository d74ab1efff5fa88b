"""A sink in its own process: a server that answers at once, to measure clients with.

Belongs here: starting and ending it, and asking what it received.  Does not: answering (see
`sink_server`).
"""

from __future__ import absolute_import, division

import json
import os
import signal
import socket
import subprocess
import sys
import time

_SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sink_server.py")
_REQUEST = (
    b"POST /api/sessions/x/events HTTP/1.1\r\nHost: x\r\nContent-Length: 150\r\n\r\n" + b"x" * 150
)


class Serving(object):
    """A process that prints its port and ends when its input does; a context manager.

    :param command: its command line, a list.
    :ivar port: on 127.0.0.1.
    """

    def __init__(self, command):
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Python 2 would hand our ends of others' pipes to this one, and these never end then.
            close_fds=True,
        )
        self.port = int(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Sink(Serving):
    """A running sink; a context manager.

    :param generation: "v1" or "classic".
    :param port: a port on 127.0.0.1, 0 for a free one.
    """

    def __init__(self, generation="v1", port=0):
        super(Sink, self).__init__([sys.executable, _SERVER, generation, str(port)])
        self.url = "http://127.0.0.1:%d" % self.port

    def pause(self):
        """Suspend it until `resume`."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self):
        """Let it answer again."""
        os.kill(self._process.pid, signal.SIGCONT)

    def received(self):
        """Return what it received since the start: {"requests", "wire_bytes", "body_bytes"}.

        And "events_seconds": from the first event to the last since the previous call.
        """
        return received(self.port)

    def requests_a_second(self, count=2000):
        """Return how many requests a second it answers, one by one over one connection."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            start = time.time()
            for _ in range(count):
                connection.sendall(_REQUEST)
                connection.recv(4096)
            return count / (time.time() - start)
        finally:
            connection.close()


def received(port):
    """Return what the sink at a port received; callable from any process."""
    connection = socket.create_connection(("127.0.0.1", port))
    try:
        connection.sendall(b"GET /received HTTP/1.1\r\nHost: x\r\n\r\n")
        return json.loads(connection.recv(4096).split(b"\r\n\r\n", 1)[1].decode("ascii"))
    finally:
        connection.close()
