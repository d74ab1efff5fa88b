"""Connections that keep a total deadline, and pools that trust no connection left idle.

What may live here: how `transport` makes urllib3's sockets obey one wire call's bounds. What
may not: anything that knows datacat, HTTP's meaning or retries.

Timeouts of urllib3 bound each wait, not their sum: headers dripped a byte at a time never end.
So every socket is wrapped, and each of its waits gets only what is left of the call that the
current thread is in. Two waits stay out of reach: the look-up of a name, and on Python 2.7 a
TLS record or handshake that itself comes a byte at a time.
"""

from __future__ import absolute_import, division

import errno
import io
import os
import socket
import threading

from six.moves import queue
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from .._compat import boot_clock, monotonic

# NATs and load balancers drop idle connections without a word, some after 30 s.
LONGEST_IDLE = 20.0

_in_thread = threading.local()


class Call(object):
    """The bounds of one wire call and how far it came; used by one thread.

    :ivar touched: a connection of ours took the call up; before that nothing can have left.
    :ivar handed_over: the request went out whole, the answer is awaited.
    :ivar broken: the system refused a part of the request.
    :ivar problem: what the system said when connecting failed.
    :ivar is_ending: the last wait was cut short, to end with the call.
    """

    __slots__ = (
        "deadline",
        "touched",
        "handed_over",
        "broken",
        "problem",
        "is_ending",
        "_until",
        "_outer",
    )

    def __init__(self, deadline):
        self.deadline = deadline
        self._until = monotonic() + deadline
        self.touched = False
        self.handed_over = False
        self.broken = False
        self.problem = None
        self.is_ending = False

    def __enter__(self):
        # A finalizer may make a call in the middle of another call of its thread.
        self._outer = getattr(_in_thread, "call", None)
        _in_thread.call = self
        return self

    def __exit__(self, *_):
        _in_thread.call = self._outer
        self._outer = None

    def at_most(self, seconds):
        """Return `seconds`, or what is left of the call where that is less."""
        left = self._until - monotonic()
        self.is_ending = seconds is None or left < seconds
        if left <= 0:
            raise socket.timeout("the total deadline of %g s has passed" % self.deadline)
        return left if self.is_ending else seconds


class BoundedSocket(object):
    """A socket, plain or TLS, each of whose waits ends with the current thread's call."""

    def __init__(self, plain):
        self._plain = plain
        self._silence = self._applied = plain.gettimeout()
        self._readers = 0
        self._is_closed = False

    def __getattr__(self, name):
        return getattr(self._plain, name)

    def settimeout(self, seconds):
        self._silence = seconds

    def gettimeout(self):
        # A TLS socket that is made from this one takes its timeout over for the handshake.
        return _in_thread.call.at_most(self._silence)

    def _bound_the_next_wait(self):
        allowed = _in_thread.call.at_most(self._silence)
        if allowed != self._applied:
            self._plain.settimeout(allowed)
            self._applied = allowed

    def sendall(self, data):
        rest = memoryview(data)
        try:
            while rest:
                self._bound_the_next_wait()
                rest = rest[self._send(rest) :]
        except Exception:
            _in_thread.call.broken = True
            raise

    def _send(self, data):
        try:
            return self._plain.send(data)
        except EnvironmentError as interrupted:  # Python 2.7 does not repeat it by itself
            if interrupted.errno != errno.EINTR:
                raise
            return 0

    def recv_into(self, *arguments):
        self._bound_the_next_wait()
        return self._plain.recv_into(*arguments)

    def makefile(self, mode="rb", buffering=None):
        reader = _Reader(self)
        self._readers += 1
        return reader if buffering == 0 else io.BufferedReader(reader)

    def close(self):
        # As with any socket, what reads from it may go on to its end.
        self._is_closed = True
        if self._readers == 0:
            self._plain.close()

    def reader_closed(self):
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


class _Bounded(object):
    """What a urllib3 connection needs to keep the call's deadline and to tell how far it came.

    Head and body go out as one piece: apart, they are two packets and two waits for the
    interpreter's lock, which the application's threads pay for too.
    """

    _head = b""
    _body_follows = False

    def request(self, method, url, body=None, *arguments, **options):
        self._head = b""
        self._body_follows = bool(body)
        return super(_Bounded, self).request(method, url, body, *arguments, **options)

    def send(self, data):
        if self._body_follows and data.endswith(b"\r\n\r\n"):
            self._body_follows = False
            self._head = data
            return
        whole, self._head = self._head + data, b""
        super(_Bounded, self).send(whole)

    def connect(self):
        _in_thread.call.touched = True
        result = super(_Bounded, self).connect()
        if not isinstance(self.sock, BoundedSocket):
            self.sock = BoundedSocket(self.sock)
        return result

    def putrequest(self, *arguments, **options):
        _in_thread.call.touched = True
        return super(_Bounded, self).putrequest(*arguments, **options)

    def getresponse(self, *arguments, **options):
        _in_thread.call.handed_over = True
        return super(_Bounded, self).getresponse(*arguments, **options)


class _Dialing(_Bounded):
    """Connects as urllib3 does, but all of a name's addresses share what is left of the call."""

    def _new_conn(self):
        call = _in_thread.call
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
        problem = socket.gaierror(socket.EAI_NONAME, "no address found")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self._dns_host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM
        ):
            dialed = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    dialed.setsockopt(*option)
                dialed.settimeout(call.at_most(self.timeout))
                dialed.connect(address)
                return dialed
            except EnvironmentError as failed:
                problem = failed
                dialed.close()
        raise problem


class _OwnersQueue(queue.LifoQueue):
    """A pool's queue that is empty for a forked child, so that no finalizer there takes its lock.

    Another thread of the parent may have held the lock at the fork; it would never be free.
    """

    def __init__(self, maxsize=0):
        queue.LifoQueue.__init__(self, maxsize)
        self._owner = os.getpid()

    def get(self, block=True, timeout=None):
        if os.getpid() != self._owner:
            raise queue.Empty
        return queue.LifoQueue.get(self, block, timeout)


class _Rested(object):
    """What a urllib3 pool needs to hand out no connection that was idle for too long."""

    QueueCls = _OwnersQueue

    def _get_conn(self, timeout=None):
        connection = super(_Rested, self)._get_conn(timeout)
        idle_since = getattr(connection, "idle_since", None)
        if idle_since is None or _clock() - idle_since <= LONGEST_IDLE:
            return connection
        connection.close()
        return self._new_conn()

    def _put_conn(self, conn):
        if conn is not None:
            conn.idle_since = _clock()
        return super(_Rested, self)._put_conn(conn)


def _clock():
    """Return seconds on a clock that counts a machine's sleep where there is one."""
    slept = boot_clock()
    return monotonic() if slept is None else slept


def _bounded(pool):
    is_urllib3s_own = pool in (HTTPConnectionPool, HTTPSConnectionPool)
    keeping = _Dialing if is_urllib3s_own else _Bounded
    connection = type("BoundedConnection", (keeping, pool.ConnectionCls), {})
    return type("Bounded" + pool.__name__, (_Rested, pool), {"ConnectionCls": connection})


def bound(pool_manager):
    """Make a urllib3 PoolManager (also one for a proxy) make pools that keep these bounds.

    Its calls must then be made within `with Call(deadline)`.
    """
    pools = pool_manager.pool_classes_by_scheme
    pool_manager.pool_classes_by_scheme = dict(
        (scheme, _bounded(pool)) for scheme, pool in pools.items()
    )
    return pool_manager
