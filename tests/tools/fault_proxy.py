"""A TCP proxy that knows enough HTTP to cause faults at the right byte.

Rules (a predicate over the request and a fault, see faults.py) strike single requests;
refuse(), partition() and black_hole() affect the whole line until heal(), cut_bodies() every large
request.
"""

from __future__ import absolute_import, division

import collections
import socket
import threading

from datacat._compat import monotonic
from tools.exchange import Connection
from tools.faults import Fault
from tools.ports import held_port

OPEN = "open"
PARTITIONED = "partitioned"
BLACK_HOLE = "black hole"

SMALL_SEGMENT = 1400
SMALL_BUFFER = 8192

# Seconds until the accepting thread notices that it must pause or end.
GLANCE = 0.1


class Seen(object):
    """One request in the proxy's log.

    number: 1 for the proxy's first. at: when it arrived, monotonic seconds. applied: whether the
    server answered with a 2xx; None if unknown. server_status: of the server's answer. status: of
    the answer that the client got in full. Both are None if there was none. fault: the name of
    the fault that struck.
    """

    def __init__(self, number, method, path, body):
        self.number = number
        self.at = monotonic()
        self.method = method
        self.path = path
        self.body = body
        self.applied = False
        self.server_status = None
        self.status = None
        self.fault = None

    def __repr__(self):
        return "<%d %s %s %r applied=%s server=%s client=%s fault=%s>" % (
            self.number,
            self.method,
            self.path,
            self.body,
            self.applied,
            self.server_status,
            self.status,
            self.fault,
        )


class Rule(object):
    """A fault for the first `times` requests (None: all) for which `when` is true."""

    def __init__(self, fault, when, times):
        self.fault = fault
        self._when = when
        self._left = times

    def takes(self, seen):
        if self._left == 0 or (self._when is not None and not self._when(seen)):
            return False
        if self._left is not None:
            self._left -= 1
        return True


class FaultProxy(object):
    """A proxy on 127.0.0.1 for the server on `target_port`; thread-safe.

    :ivar accepted: how many connections it has accepted.
    """

    def __init__(self, target_port):
        self.target_port = target_port
        self.longest_body = None
        self._lock = threading.Lock()
        self._line_changed = threading.Condition(self._lock)
        self._line = OPEN
        self._rules = []
        self._struck = collections.Counter()
        self._log = []
        self._connections = set()
        self.accepted = 0
        self._holder = held_port()
        self.port = self._holder.getsockname()[1]
        self._listener = None
        self._acceptor = None
        self._no_more = threading.Event()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    @property
    def struck(self):
        """How often each fault struck, by its name; 0 if it never did."""
        with self._lock:
            return collections.Counter(self._struck)

    @property
    def log(self):
        """All requests so far, as Seen, in the order of their arrival."""
        with self._lock:
            return list(self._log)

    def rule(self, fault, when=None, times=None):
        """Let `fault` strike requests; the first rule that matches a request wins.

        when: a predicate over Seen (number, method, path, body), called in the requests' order.
        """
        with self._lock:
            self._rules.append(Rule(fault, when, times))

    def clear(self):
        """Remove all rules: pass on whatever comes from now on."""
        with self._lock:
            self._rules = []

    def start(self):
        """Listen, and return itself."""
        self._accept_again()
        return self

    def stop(self):
        """Break all connections and end all threads."""
        self._accept_no_more()
        self._holder.close()
        self._break_all()

    def refuse(self):
        """Break all connections and refuse new ones, like a port without a listener."""
        self._accept_no_more()
        self._break_all()
        self.count("refuse")

    def partition(self):
        """Hold all bytes back, both ways, until heal(); connections stay open."""
        self._set_line(PARTITIONED)
        self.count("partition")

    def black_hole(self):
        """Accept connections and never answer; heal() breaks them."""
        self._set_line(BLACK_HOLE)
        self.count("black_hole")

    def cut_bodies(self, longest):
        """Reset each connection on which a larger body begins, after so many bytes of it.

        To be called before a client connects: the system is to hold little of what it sends, or
        it would have sent all by then.
        """
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        self.longest_body = longest

    def heal(self):
        """End refuse(), partition() and black_hole(); rules stay."""
        self._set_line(OPEN)
        if self._acceptor is None:
            self._accept_again()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    # For the connections

    def note(self, request):
        """Add a request to the log; return its Seen and its fault."""
        with self._lock:
            seen = Seen(len(self._log) + 1, request.method, request.path, request.body)
            self._log.append(seen)
            for rule in self._rules:
                if rule.takes(seen):
                    return seen, rule.fault
        return seen, Fault()

    def count(self, name):
        """Count a strike of the fault with this name."""
        with self._lock:
            self._struck[name] += 1

    def pass_line(self, connection):
        """Wait while the line is cut, but no longer than the connection lasts."""
        with self._line_changed:
            while self._line != OPEN and not connection.broken.is_set():
                self._line_changed.wait(60)

    def forget(self, connection):
        """Forget a connection that has ended."""
        with self._lock:
            self._connections.discard(connection)

    def _set_line(self, line):
        with self._line_changed:
            self._line = line
            self._line_changed.notify_all()

    def _accept_again(self):
        self._no_more.clear()
        self._listener = held_port(self.port)
        self._listener.listen(128)
        self._listener.settimeout(GLANCE)
        self._acceptor = threading.Thread(target=self._accept, name="acceptor of a proxy")
        self._acceptor.daemon = True
        self._acceptor.start()

    def _accept_no_more(self):
        self._no_more.set()
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.join()
            self._listener.close()

    def _accept(self):
        while not self._no_more.is_set():
            try:
                client, _ = self._listener.accept()
            except socket.timeout:
                continue
            client.settimeout(None)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.accepted += 1
                connection = Connection(self, client, swallowed=self._line == BLACK_HOLE)
                self._connections.add(connection)
            connection.start()

    def _break_all(self):
        with self._line_changed:
            connections = list(self._connections)
            for connection in connections:
                connection.abort()
            self._line_changed.notify_all()
        for connection in connections:
            connection.join()
