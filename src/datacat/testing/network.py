"""A bad network in front of a server: a TCP relay that loses, cuts, delays and goes dark.

Belongs here: bytes and connections.  Does not: HTTP.

Each connection has two threads, one for each way.  They end when its sockets are shut down; the
one that reads from the client closes the sockets then.
"""

from __future__ import absolute_import, division

import socket
import threading

from six.moves.urllib.parse import urlsplit

_PIECE = 65536
_CONNECT_SECONDS = 10.0
# Seconds until the accepting thread notices that it must end.
_GLANCE = 0.1


class FlakyNetwork(object):
    """A relay on a free port of 127.0.0.1; thread-safe.

    :param server: where it leads: an object with `url`, or a URL that begins with http: (str).
    :param loses: how many answers are lost, as by `lose_answers` (int).
    :param cuts: how many requests are cut, as by `cut` (int).
    :param delay: see below.
    :param dark: whether to begin in the dark, as by `go_dark` (bool).
    :ivar url: what the application is to use instead of the server's URL (str).
    :ivar delay: seconds that bytes take, each way (float); may be changed at any time.
    :ivar lost: how many answers were lost so far (int).
    :ivar was_cut: how many requests were cut so far (int).
    :raises ValueError: if the URL does not begin with http:.
    """

    def __init__(self, server, loses=0, cuts=0, delay=0.0, dark=False):
        target = urlsplit(getattr(server, "url", server))
        if target.scheme != "http":
            raise ValueError(
                "flaky_network needs a URL that begins with http:, not %r" % (server,)
            )
        self._target = (target.hostname, target.port or 80)
        self._lock = threading.Lock()
        self._loses = loses
        self._cuts = cuts
        self._is_dark = dark
        self.delay = delay
        self.lost = 0
        self.was_cut = 0
        self._connections = set()
        self._is_over = False
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self._listener.settimeout(_GLANCE)
        self.url = "http://127.0.0.1:%d%s" % (self._listener.getsockname()[1], target.path)
        self._acceptor = _start(self._accept)

    def lose_answers(self, count=1):
        """Lose the next answers: the server gets the request, the client a closed connection.

        :param count: how many (int); added to those that are still to be lost.
        """
        with self._lock:
            self._loses += count

    def cut(self, count=1):
        """Cut the next requests: the server gets the first half, then the connection closes.

        :param count: how many (int); added to those that are still to be cut.
        """
        with self._lock:
            self._cuts += count

    def go_dark(self):
        """Let nothing pass, until `restore`: nobody answers, and nobody refuses."""
        self._is_dark = True

    def restore(self):
        """End the darkness: connections are closed, and what was on its way in them is lost."""
        with self._lock:
            # First, so that none of them passes anything on once the darkness is over.
            for connection in self._connections:
                connection.end()
            self._is_dark = False
        self._close_connections()

    def close(self):
        """Close all connections, and end all threads."""
        self._is_over = True
        self._acceptor.join()
        self._listener.close()
        for connection in self._close_connections():
            connection.join()

    def _close_connections(self):
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()
        return connections

    def _accept(self):
        while not self._is_over:
            try:
                client, _ = self._listener.accept()
            except socket.timeout:
                continue
            client.settimeout(None)
            with self._lock:
                self._connections.add(_Connection(self, client))

    # For the connections

    def connect(self):
        """Return a socket that is connected to the server."""
        server = socket.create_connection(self._target, _CONNECT_SECONDS)
        server.settimeout(None)
        return server

    def wait(self, closed):
        """Let time pass, as bytes do on their way.

        :param closed: an Event, set when their connection is closed.
        """
        if self.delay:
            closed.wait(self.delay)
        if self._is_dark:
            closed.wait()

    def request(self, piece):
        """Return what the server gets of some bytes, and whether its connection stays open."""
        with self._lock:
            if not self._cuts:
                return piece, True
            self._cuts -= 1
            self.was_cut += 1
            return piece[: len(piece) // 2], False

    def answer(self, piece):
        """Return what the client gets of some bytes, and whether its connection stays open."""
        with self._lock:
            if not self._loses:
                return piece, True
            self._loses -= 1
            self.lost += 1
            return b"", False

    def forget(self, connection):
        """Forget a connection that is over."""
        with self._lock:
            self._connections.discard(connection)


class _Connection(object):
    def __init__(self, network, client):
        self._network = network
        self._client = client
        self._server = None
        self._closed = threading.Event()
        self._thread = _start(self._run)

    def end(self):
        """Let it pass nothing on any more."""
        self._closed.set()

    def close(self):
        """End it, from any thread."""
        self.end()
        _shut_down(self._client)
        _shut_down(self._server)

    def join(self):
        """Wait until it has ended."""
        self._thread.join()

    def _run(self):
        network, back = self._network, None
        try:
            network.wait(self._closed)
            self._server = network.connect()
            back = _start(self._pass_on, self._server, self._client, network.answer)
            self._pass_on(self._client, self._server, network.request)
        except EnvironmentError:
            pass  # the server is away, and its client learns it from the closed connection
        self.close()
        if back is not None:
            back.join()
            self._server.close()
        self._client.close()
        network.forget(self)

    def _pass_on(self, source, target, decide):
        stays_open = True
        try:
            while stays_open and not self._closed.is_set():
                piece = source.recv(_PIECE)
                self._network.wait(self._closed)
                if not piece or self._closed.is_set():
                    break
                piece, stays_open = decide(piece)
                target.sendall(piece)
        except EnvironmentError:
            pass  # one side is gone
        self.close()


def _start(target, *arguments):
    thread = threading.Thread(target=target, args=arguments, name="datacat flaky_network")
    thread.daemon = True
    thread.start()
    return thread


def _shut_down(connection):
    try:
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)
    except EnvironmentError:
        pass  # not connected any more
