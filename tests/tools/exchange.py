"""One client's connection through a fault proxy, and each exchange on it."""

from __future__ import absolute_import, division

import errno
import socket
import struct
import threading

from tools.http_wire import BrokenMessage, CutBody, Wire
from tools.waiting import PATIENCE

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for 0 seconds: close() sends RST


class Connection(object):
    """A client's connection and, from its first request on, one to the server."""

    def __init__(self, proxy, client, swallowed):
        self.proxy = proxy
        self.client = Wire(client)
        self.server = None
        self.broken = threading.Event()
        self._swallowed = swallowed
        self._thread = threading.Thread(target=self._run, name="connection of a proxy")
        self._thread.daemon = True

    def start(self):
        self._thread.start()

    def join(self):
        self._thread.join()

    def abort(self):
        """End it from another thread; wakes whatever waits for its bytes."""
        self.broken.set()
        for wire in (self.client, self.server):
            if wire is not None:
                _shut_down(wire.socket)

    def connect_to_server(self):
        """Connect to the server, unless there is a connection that it has not closed."""
        if self.server is not None and _is_closed_by_peer(self.server.socket):
            self.drop_server()
        if self.server is None:
            server = socket.create_connection(("127.0.0.1", self.proxy.target_port), PATIENCE)
            server.settimeout(None)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.server = Wire(server)
            if self.broken.is_set():
                raise BrokenMessage("aborted while connecting")

    def drop_server(self):
        """Close the connection to the server."""
        server, self.server = self.server, None
        if server is not None:
            _shut_down(server.socket)
            server.socket.close()

    def reset_client(self):
        """Reset the client's connection."""
        try:
            self.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        except socket.error:
            pass  # closed already
        self.client.socket.close()

    def _run(self):
        try:
            if self._swallowed:
                self.proxy.pass_line(self)
                self.reset_client()
            else:
                self._serve()
        except (socket.error, BrokenMessage, ValueError):
            # One side is gone or does not speak HTTP: break the other side's connection.
            self.reset_client()
        finally:
            self.drop_server()
            _shut_down(self.client.socket)
            self.client.socket.close()
            self.proxy.forget(self)

    def _serve(self):
        stays_open = True
        while stays_open and not self.broken.is_set():
            try:
                request = self.client.read_request(self.proxy.longest_body)
            except CutBody:
                self.proxy.count("cut_body")
                raise
            if request is None:
                return
            seen, fault = self.proxy.note(request)
            stays_open = fault.play(Exchange(self, request, seen))


class Exchange(object):
    """One request and its answer, and what a fault can do with them."""

    def __init__(self, connection, request, seen):
        self.request = request
        self.seen = seen
        self._connection = connection
        self._proxy = connection.proxy

    def strike(self, name):
        """Count the fault; call this before the client can notice it."""
        self.seen.fault = name
        self._proxy.count(name)

    def forward(self, pace=None):
        """Send the whole request to the server and return its Response."""
        self.send_to_server(self.request.head + self.request.body, pace)
        self.seen.applied = None
        response = self._connection.server.read_response(self.request.method)
        self.seen.server_status = response.status
        self.seen.applied = 200 <= response.status < 300
        if not response.keeps_open:
            self._connection.drop_server()
        return response

    def send_to_server(self, data, pace=None):
        """Send bytes to the server; `pace` (bytes, seconds): so many at a time."""
        self._proxy.pass_line(self._connection)
        try:
            self._connection.connect_to_server()
        except socket.error:
            self.strike("server_unreachable")
            raise
        self._write(self._connection.server.socket, data, pace)

    def give(self, response, pace=None):
        """Send the whole answer to the client; return whether its connection stays open."""
        self.write_to_client(response.head + response.body, pace, status=response.status)
        return response.keeps_open

    def write_to_client(self, data, pace=None, status=None):
        """Send bytes to the client; `status`: that of the answer which they complete."""
        self._proxy.pass_line(self._connection)
        self.seen.status = status
        try:
            self._write(self._connection.client.socket, data, pace)
        except (socket.error, BrokenMessage):
            self.seen.status = None
            raise

    def drop_server(self):
        self._connection.drop_server()

    def reset_client(self):
        self._connection.reset_client()

    def sleep(self, seconds):
        """Wait, but no longer than the connection lasts."""
        if self._connection.broken.wait(seconds):
            raise BrokenMessage("aborted while waiting")

    def await_client_gone(self):
        """Wait until the client closes its connection; ignore what it still sends."""
        while self._connection.client.socket.recv(65536):
            pass

    def _write(self, to, data, pace):
        if pace is None:
            to.sendall(data)
            return
        piece, interval = pace
        for start in range(0, len(data), piece):
            self.sleep(interval)
            to.sendall(data[start : start + piece])


def _shut_down(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except socket.error:
        pass  # not connected any more, or closed


def _is_closed_by_peer(connection):
    connection.setblocking(False)
    try:
        # Unexpected bytes make it as useless as a closed one.
        connection.recv(1, socket.MSG_PEEK)
        return True
    except socket.error as error:
        return error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK)
    finally:
        connection.setblocking(True)
