"""Pools of connections that reuse none left idle for long, and live until the end of the process.

Belongs here: when a connection is taken, made anew and given back. Does not: what it keeps to
while it is used (`sockets`), datacat's terms, retries.

Theory of operation

1. A pool notes when a connection was returned, and replaces one that was idle for too long.
2. In a forked child, an inherited pool looks empty: taking its lock could hang (`_OwnersQueue`).
3. urllib3 closes idle connections by a finalizer, which runs at exit before our last requests. It
   would cost them the time to connect again. So the finalizer gets a queue that is not in use.

For undocumented names in use, see `sockets`.
"""

from __future__ import absolute_import, division

import os
import socket
import ssl

from six.moves import queue
from urllib3.connection import CertificateError
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, ProtocolError, SSLError

from .._compat import boot_clock, monotonic
from .sockets import BoundedConnection, BoundedSocket, DialingConnection

# Seconds. NATs and load balancers drop idle connections silently, some after 30.
LONGEST_IDLE = 20.0

# A connection is idle while the machine sleeps, too.
idle_clock = monotonic if boot_clock() is None else boot_clock


class _OwnersQueue(queue.LifoQueue):
    """A pool's queue that looks empty in a forked child, where a finalizer could hang in its lock.

    A thread of the parent may have held the lock at the fork; in the child nobody releases it.
    """

    def __init__(self, maxsize=0):
        queue.LifoQueue.__init__(self, maxsize)
        self._owner = os.getpid()

    def get(self, block=True, timeout=None):
        if os.getpid() != self._owner:
            raise queue.Empty
        return queue.LifoQueue.get(self, block, timeout)


class _FreshPool(object):
    """Mixin for a urllib3 pool: hands out no connection that was idle for too long."""

    QueueCls = _OwnersQueue

    def __init__(self, *arguments, **options):
        super(_FreshPool, self).__init__(*arguments, **options)
        # At exit, urllib3 closes what is in the queue that it made, before our last requests.
        made, self.pool = self.pool, self.QueueCls(self.pool.maxsize)
        for _ in range(made.qsize()):
            self.pool.put(None)

    def _get_conn(self, timeout=None):
        connection = super(_FreshPool, self)._get_conn(timeout)
        idle_since = getattr(connection, "idle_since", None)
        if idle_since is None or idle_clock() - idle_since <= LONGEST_IDLE:
            return connection
        connection.close()
        return self._new_conn()

    def _put_conn(self, conn):
        if conn is not None:
            conn.idle_since = idle_clock()
        return super(_FreshPool, self)._put_conn(conn)


def _bounded(pool, note_found, knock):
    """Return a bounded subclass of a pool's class; the class itself if it is one."""
    if issubclass(pool, _FreshPool):
        return pool
    # Other pools (SOCKS) connect in their own way.
    is_urllib3s_own = pool in (HTTPConnectionPool, HTTPSConnectionPool)
    mixin = DialingConnection if is_urllib3s_own else BoundedConnection
    noting = {"note_found": staticmethod(note_found), "knock": knock}
    connection = type("BoundedConnection", (mixin, pool.ConnectionCls), noting)
    return type("Bounded" + pool.__name__, (_FreshPool, pool), {"ConnectionCls": connection})


def take_connected(pool, seconds=None):
    """Take a connection that is connected out of a bounded pool; return it, or None.

    :param seconds: how long to wait for a new connection; None: only an idle one is taken.
    """
    connection = pool._get_conn()
    try:
        if seconds is not None and getattr(connection, "sock", None) is None:
            _connect(pool, connection, seconds)
    except Exception:
        connection.close()
        pool._put_conn(connection)
        raise
    if not isinstance(getattr(connection, "sock", None), BoundedSocket):
        pool._put_conn(connection)
        return None
    connection.home = pool
    return connection


def _connect(pool, connection, seconds):
    """Connect as urllib3's `urlopen` does, with the errors that it would raise."""
    connection.timeout = seconds
    try:
        connection.connect() if pool.proxy is None else pool._prepare_proxy(connection)
    except socket.timeout as problem:
        raise ConnectTimeoutError(connection, "Timed out while connecting: %s" % problem)
    except (ssl.SSLError, ssl.CertificateError, CertificateError) as problem:
        raise SSLError(problem)
    except EnvironmentError as problem:
        raise ProtocolError("Connection aborted.", problem)


def give_back(connection):
    """Return a connection to the pool from which `take_connected` took it."""
    home, connection.home = connection.home, None
    home._put_conn(connection)


def bound(pool_manager, note_found, knock=None):
    """Make a urllib3 PoolManager (or ProxyManager) keep these bounds, and return it.

    Its calls must be made within `with Call(deadline)`. Harmless when repeated.

    :param note_found: a callable that gets what getaddrinfo returned for a name.
    :param knock: a Knock at the only server that it is for, or None.
    """
    pool_manager.pool_classes_by_scheme = dict(
        (scheme, _bounded(pool, note_found, knock))
        for scheme, pool in pool_manager.pool_classes_by_scheme.items()
    )
    return pool_manager
