"""Connections that keep a call's total deadline.

Belongs here: how urllib3's sockets keep the bounds of one wire call. Every use of a name that
urllib3 or http.client does not document is here or in `pools`. Does not: datacat's terms, retries,
what an answer says.

Theory of operation

1. urllib3's timeouts bound each wait, not their sum: headers dripped a byte at a time never end.
   So a thread has a current `Call`, every socket is wrapped in a `BoundedSocket`, and each of its
   waits gets no more than what is left of the call.  Once an answer's body comes in, every byte of
   it may give the call more time, so that a slow line that delivers is not cut.
2. The call also notes how far it got. That decides whether a failed request may have arrived.
3. Another part of the process may close a socket's descriptor, and the application's next file or
   socket then has its number. Before each use and before closing, a BoundedSocket looks.

Two waits stay unbounded: looking up a host name, and on Python 2.7 a TLS record or handshake that
itself arrives a byte at a time.

Undocumented names in use. urllib3: `ConnectionCls`, `QueueCls`, `pool`, `_new_conn`, `_get_conn`,
`_put_conn`, `_prepare_proxy` and `proxy` of pools, `_new_conn`, `_dns_host`, `socket_options` and
`is_verified` of connections, `pool_classes_by_scheme` of pool managers, `allowed_gai_family`.
http.client: that `request` hands head and body to `send`, `getresponse` begins when all is sent,
and answers are read by `sock.makefile` and made by `response_class`. Tested with urllib3 1.24 to
2.8 and requests 2.21 to 2.34 on CPython 2.7 and 3.6 to 3.13 (see `nox -s oldest`).
"""

from __future__ import absolute_import, division

import errno
import io
import socket

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from ..descriptors import Descriptors
from . import dialing
from .calls import in_thread
from .parsing import FinalResponse

OPTIONS = list(HTTPConnection.default_socket_options)


class BoundedSocket(object):
    """A socket, plain or TLS, whose waits end with the current thread's call.

    :param plain: the socket that it wraps.
    """

    def __init__(self, plain):
        self._plain = plain
        self._silence = self._applied = plain.gettimeout()
        self._readers = 0
        self._is_closed = False
        self._descriptors = Descriptors(plain.fileno())
        # Asked for in every call; `__getattr__` takes longer.
        self.fileno = plain.fileno
        self.shutdown = plain.shutdown

    def __getattr__(self, name):
        return getattr(self._plain, name)

    def settimeout(self, seconds):
        """Set how long each wait may last; None: as long as the call."""
        self._silence = seconds

    def gettimeout(self):
        """Return how long a wait that begins now may last.

        A TLS socket made from this one uses that for the handshake.

        :raises socket.timeout: if nothing is left of the call.
        """
        return in_thread.call.at_most(self._silence)

    def _bound_the_next_wait(self):
        if not self._descriptors.are_ours():
            raise EnvironmentError(
                errno.EBADF, "another part of this program closed the connection"
            )
        allowed = in_thread.call.at_most(self._silence)
        if allowed != self._applied:
            self._plain.settimeout(allowed)
            self._applied = allowed

    def sendall(self, data):
        """Send all of some bytes; note in the call if that fails.

        :raises socket.timeout: at the end of the timeout or of the call.
        :raises EnvironmentError: as `socket.send` does.
        """
        rest = memoryview(data)
        try:
            while rest:
                self._bound_the_next_wait()
                rest = rest[self._send(rest) :]
        except Exception:
            in_thread.call.broken = True
            raise

    def _send(self, data):
        try:
            return self._plain.send(data)
        except EnvironmentError as interrupted:  # Python 2.7 does not retry by itself
            if interrupted.errno != errno.EINTR:
                raise
            return 0

    def recv_into(self, *arguments):
        """Do what `socket.recv_into` does, within the call.

        :raises socket.timeout: at the end of the timeout or of the call.
        """
        self._bound_the_next_wait()
        count = self._plain.recv_into(*arguments)
        in_thread.call.arrived(count)
        return count

    def makefile(self, mode="rb", buffering=None):
        """Return a binary file that reads within the call; any mode means "rb"."""
        reader = _Reader(self)
        self._readers += 1
        return reader if buffering == 0 else io.BufferedReader(reader)

    def close(self):
        """Close it once all files made from it are closed: they stay readable until then."""
        self._is_closed = True
        if self._readers == 0:
            dialing.close(self._plain, self._descriptors)

    def reader_closed(self):
        """Note that a file made from it was closed."""
        self._readers -= 1
        if self._is_closed:
            self.close()


class _Reader(io.RawIOBase):
    def __init__(self, bounded):
        super(_Reader, self).__init__()
        self._bounded = bounded

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._bounded.recv_into(buffer)

    def close(self):
        if not self.closed:
            super(_Reader, self).close()
            self._bounded.reader_closed()


class BoundedConnection(object):
    """Mixin for a urllib3 connection: keeps the call's deadline and notes how far it got.

    Sends head and body in one piece. Two pieces would be two packets, and two waits for the GIL,
    which slow down the application's threads.
    """

    _head = b""
    _body_follows = False
    # How many of its requests were answered; the pool that it was taken from.
    carried = 0
    home = None
    response_class = FinalResponse

    def request(self, method, url, body=None, *arguments, **options):
        in_thread.call.touched = True
        self._head = b""
        self._body_follows = bool(body)
        return super(BoundedConnection, self).request(method, url, body, *arguments, **options)

    def send(self, data):
        if self._body_follows and data.endswith(b"\r\n\r\n"):
            self._body_follows = False
            self._head = data
            return
        whole, self._head = self._head + data, b""
        super(BoundedConnection, self).send(whole)

    def connect(self):
        in_thread.call.touched = True
        self.carried = 0
        result = super(BoundedConnection, self).connect()
        # A stand-in (vcrpy's) may have no socket, or none that does anything.
        if not isinstance(self.sock, BoundedSocket) and hasattr(self.sock, "gettimeout"):
            self.sock = BoundedSocket(self.sock)
        # Otherwise urllib3 warns at each request: verify=False was the user's choice.
        self.is_verified = True
        return result

    def getresponse(self, *arguments, **options):
        in_thread.call.handed_over = True
        self.carried += 1
        return super(BoundedConnection, self).getresponse(*arguments, **options)


class DialingConnection(BoundedConnection):
    """Connects as urllib3 does, but all addresses of a name share the rest of the call."""

    # Called with what getaddrinfo returned.
    note_found = None
    # A Knock, whose connection is the first one; or None.
    knock = None

    def _new_conn(self):
        call = in_thread.call
        try:
            return BoundedSocket(self._dial(call))
        except socket.timeout as problem:
            call.problem = problem
            raise ConnectTimeoutError(self, "Timed out while connecting: %s" % problem)
        except EnvironmentError as problem:
            call.problem = problem
            raise NewConnectionError(self, "Failed to establish a new connection: %s" % problem)

    def _dial(self, call):
        call.at_most(self.timeout)
        call.problem = None
        dialed = self.knock and self.knock.take(self.socket_options, self.timeout)
        if dialed is not None:
            return dialed
        host = self._dns_host.strip("[]")
        found = socket.getaddrinfo(host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        self.note_found(found)
        return dialing.dial(
            (host, self.port), found, self.socket_options, self.timeout, call.at_most
        )
