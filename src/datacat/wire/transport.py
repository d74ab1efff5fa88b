"""One wire call: a request in, (status, headers, body) or a DatacatError out, within a deadline.

Belongs here: the bounds of a call, and making the connections when there is something to talk to.
Does not: `requests` (see `exchanges`), what an answer means, retrying what may have arrived.
"""

from __future__ import absolute_import, division

import os

from .. import _compat
from ..errors import NotSent
from . import causes, importing, knocking
from .calls import LONGEST_ANSWER, Call
from .own_address import Route

# Bytes a second on the slowest supported link, of 16 kbit/s. The system buffers a body at once, so
# the wait for the answer includes the time to send it.
_SLOWEST_LINK = 2 * 1024
# A link may become this many times slower than it was.
_SLOWER_THAN_BEFORE = 8
_NO_REQUESTS = u"cannot import requests, nothing was sent: %s; install it again"


class Transport(object):
    """Makes wire calls to one server with one set of settings. Thread-safe.

    A forked child opens its own connections and leaves the inherited ones alone.  If requests was
    not imported yet, the first call that reaches the server imports it.

    :param settings: a `settings.Settings`.
    :param retries: how often a call that cannot connect is retried at once.
    :ivar rate: bytes a second that requests were seen to go at; None if unknown.  To be set by
        the caller: large bodies are not waited for as if the link were the slowest.
    """

    def __init__(self, settings, retries=2):
        self.rate = None
        self._settings = settings
        self._retries = retries
        self._route = Route()
        self._by_process = {}  # {process id: its Connections}

    def allowance(self, body):
        """Return the seconds by which a call's bounds grow for a request body (bytes or None)."""
        return len(body or b"") / max(_SLOWEST_LINK, (self.rate or 0) / _SLOWER_THAN_BEFORE)

    def call(
        self,
        request,
        timeout=None,
        deadline=None,
        limit=LONGEST_ANSWER,
        on_chunk=None,
        is_short=False,
    ):
        """Send a request and return its `Response`, whatever the status.

        Redirects are not followed. The body of a status of 300 or more is cut at `limit`.

        :param request: has `method`, `path` (percent-encoded, absolute), `body` (JSON in bytes, or
            None) and `encoding` (the body's Content-Encoding, or None).
        :param timeout: seconds to wait for the server's next bytes; by default the settings'
            `timeout`, and more for a large body.
        :param deadline: seconds for the whole call; by default the settings' `deadline`, and
            more for a large body, and for an answer as long as it comes in at the pace of the
            slowest link. Looking up a host name cannot be interrupted.
        :param limit: the largest answer to accept, in bytes; None: any.
        :param on_chunk: called with each piece of a 2xx body, until it returns True. The
            Response's body is then empty.
        :param is_short: whether only the beginning of the answer is wanted. It gets a connection
            of its own, with a small receive buffer.
        :raises NotSent: if the request certainly had no effect; `TlsFailure` if trust is missing,
            `CutShort` if the connection broke while it was being sent.
        :raises OutcomeUnknown: if it may have had one: no complete answer, or one too large.
        """
        extra = self.allowance(request.body)
        silence = self._settings.timeout + extra if timeout is None else timeout
        total = self._settings.deadline + extra if deadline is None else deadline
        with Call(total) as call:
            connections = self._connections() or self._connect_first(
                request, call, silence, self._retries
            )
            exchange = importing.exchanges().Exchange(connections, request, call, silence, limit)
            return exchange.run(on_chunk, None if deadline else _SLOWEST_LINK, is_short)

    def call_all(self, requests, connects=False):
        """Send requests back to back on one connection that is idle and connected.

        :param requests: a list, as `call` takes them; small, because they are sent in one piece.
        :param connects: whether to connect if there is no such connection.
        :returns: (a list with the Response to each request in turn, an error).  The error is the
            OutcomeUnknown of the first request without a Response: that one and those after it
            may have had an effect.  Without an error, they certainly had none.
        """
        extra = self.allowance(b"".join(request.body or b"" for request in requests))
        silence = self._settings.timeout + extra
        with Call(self._settings.deadline + extra) as call:
            connections = self._connections()
            if connections is None:
                if not connects:
                    return [], None
                try:
                    connections = self._connect_first(requests[0], call, silence, 0)
                except NotSent as error:
                    return [], error
            window = importing.exchanges().Window(connections, requests, call, silence)
            return window.run_all(connects)

    def own_addresses(self):
        """Return this machine's own addresses on the way to the server; None for one it lacks.

        Nothing is sent, and no name looked up.
        """
        return self._route.own_addresses()

    def close(self):
        """Close idle connections. A later call opens new ones."""
        connections = self._by_process.pop(os.getpid(), None)
        if connections is not None:
            connections.close()

    def _connections(self):
        """Return this process's Connections, None if it has none yet."""
        return self._by_process.get(os.getpid())

    def _connect_first(self, request, call, silence, retries):
        """Make this process's Connections, if there is something to talk to.

        :raises NotSent: if nobody listens, or requests cannot be imported.
        """
        knock = None
        if importing.is_pending() and knocking.tells(self._settings):
            seconds = min(silence, self._settings.timeout)
            knock = knocking.knock(
                self._settings, request, call, seconds, retries, self._route.note
            )
        for inherited in list(self._by_process.values()):
            _compat.keep_forever(inherited)
        # No lock: it could be held at a fork. If two threads race, the first one wins.
        made = self._exchanges(request, knock).Connections(
            self._settings, self._retries, self._route, knock
        )
        return self._by_process.setdefault(os.getpid(), made)

    def _exchanges(self, request, knock):
        try:
            return importing.exchanges_late()
        except Exception as fault:
            problem = _NO_REQUESTS % causes.message_of(fault)
        if knock is not None:
            knock.close()
        raise NotSent(problem, method=request.method, path=request.path)
