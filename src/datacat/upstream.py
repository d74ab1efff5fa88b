"""Classes that datacat's own newer client has, for programs that were written for it.

Belongs here: `AsyncSession` and `HeartbeatMonitor`.  Does not: what a `Session` can do itself.
"""

from __future__ import absolute_import, division

import collections
import functools
import os
import sys
import threading

from ._compat import ESCAPED, monotonic, start_daemon
from .errors import InvalidArgument, MonitorNotStarted
from .notices import Notices
from .recorder import Recorder
from .records import exceptions, jsonable


class HeartbeatMonitor(object):
    """A session's heartbeat monitor, as `start_heartbeat_monitor` returns it; thread-safe.

    A session has one monitor at most: objects for the same session control the same one.

    :param session: a `Session`.
    :param timeout, check_interval: as of `Session.start_heartbeat_monitor`.
    :raises InvalidArgument: if `session` is something else.
    """

    def __init__(self, session, timeout=60, check_interval=None):
        if not isinstance(session, Recorder):
            raise InvalidArgument(
                "HeartbeatMonitor takes a Session, not %s; session.start_heartbeat_monitor() "
                "starts and returns one" % type(session).__name__
            )
        self._session = session
        self.timeout = timeout
        self.check_interval = check_interval

    @property
    def client(self):
        """The session's client (DatacatClient)."""
        return self._session.client

    @property
    def session_id(self):
        """The session's id (str)."""
        return self._session.session_id

    def start(self):
        """Start the monitor unless it runs, and return this object.

        :raises InvalidArgument: as `Session.start_heartbeat_monitor` does.
        """
        if not self.is_running():
            self._session.start_heartbeat_monitor(self.timeout, self.check_interval)
        return self

    def heartbeat(self):
        """Report that the application is alive; does nothing if the monitor does not run."""
        try:
            self._session.heartbeat()
        except MonitorNotStarted:
            pass

    def stop(self):
        """Stop the monitor; harmless if it does not run."""
        self._session.stop_heartbeat_monitor()

    def is_running(self):
        """Return whether heartbeats are expected (bool): not after the session's end, either."""
        return self._session._is_watched


class AsyncSession(object):
    """A session whose calls return at once; thread-safe.

    Around a session of this library, each call goes straight to it: it returns at once anyway,
    and what it accepts is kept.  Around any other object with a session's methods, a thread makes
    the calls that record something, in order.  Until then they wait in memory: the end of the
    process loses them, so call `shutdown`, and do not change what they were given.

    It has all methods of the session, and `flush`, `get_stats`, `shutdown` and `end`.

    :param session: a `Session`, or an object with its methods.
    :param queue_size: how many calls may wait (int; 0: any number).
    :param drop_on_full: whether a call is dropped, and counted, if as many wait (bool); if not,
        it waits for room.
    :ivar session: the session given.
    """

    def __init__(self, session, queue_size=10000, drop_on_full=True):
        self.session = session
        is_ours = isinstance(session, Recorder)
        self._calls = session if is_ours else _Queued(session, queue_size, drop_on_full)

    def __repr__(self):
        return "<asynchronous %r>" % (self.session,)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._calls, name)

    def __dir__(self):
        own = set(dir(type(self))) | set(vars(self))
        return sorted(own.union(dir(self.session), dir(self._calls)))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return self._calls.__exit__(kind, error, trace)


class _Queued(object):
    """Any session, with a queue in front of the calls that record something.

    A call stays in the queue until it is made, so that each is counted in one place: sent,
    dropped, or queued.
    """

    def __init__(self, session, size, is_dropping):
        self._session = session
        self._size = size if size > 0 else float("inf")
        self._is_dropping = is_dropping
        self._warn = Notices()
        self._begin()

    def _begin(self):
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._queue = collections.deque()
        self._worker = None
        self._is_leaving = False
        self._sent = self._dropped = 0

    def _begin_in_child(self):
        if self._process != os.getpid():
            # What waits is the parent's, as is the thread.
            self._begin()

    def __getattr__(self, name):
        found = getattr(self._session, name)
        if name.startswith("log_") or name == "update_state":
            return functools.partial(self._put, found)
        if name in ("get_details", "close"):
            return functools.partial(self._call_after_all, found)
        return found

    def __exit__(self, kind, error, trace):
        if issubclass(type(error), Exception):
            self.log_exception(exc_info=(kind, error, trace))
        self.shutdown()

    def log_exception(self, extra_data=None, exc_info=None, **more):
        """Have an exception logged, by default the one that this thread is handling."""
        raised, data = exceptions.sort_out(extra_data, exc_info, sys.exc_info())
        self._put(self._session.log_exception, exc_info=raised, extra_data=data, **more)

    def get_stats(self):
        """Return how many calls were made, dropped, and wait (dict): sent, dropped, queued.

        A call that raised counts as dropped.
        """
        self._begin_in_child()
        with self._changed:
            return {"sent": self._sent, "dropped": self._dropped, "queued": len(self._queue)}

    def flush(self, timeout=2.0):
        """Wait until no call waits any more, `timeout` seconds at most; return whether none does.

        Delivering the records is the session's business.
        """
        self._begin_in_child()
        until = monotonic() + timeout
        with self._changed:
            while self._queue:
                left = until - monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def shutdown(self, timeout=2.0):
        """Flush, then end the session; return what its `end` returns."""
        self.flush(timeout)
        with self._changed:
            # The thread makes the calls that are left, and ends.  A later call starts another.
            self._is_leaving = True
            self._changed.notify_all()
        return self._session.end()

    end = shutdown

    def _call_after_all(self, call, *arguments, **options):
        self.flush()
        return call(*arguments, **options)

    def _put(self, call, *arguments, **options):
        self._begin_in_child()
        with self._changed:
            while len(self._queue) >= self._size:
                if self._is_dropping or threading.current_thread() is self._worker:
                    self._dropped += 1
                    return
                self._changed.wait()
            self._queue.append((call, arguments, options))
            self._changed.notify_all()
            if self._worker is None:
                self._start()

    def _start(self):
        self._is_leaving = False
        self._worker = threading.Thread(target=self._work, name="datacat AsyncSession")
        if start_daemon(self._worker) is not None:
            # As the interpreter exits, for instance: this thread makes the calls.
            self._is_leaving = True
            self._work()

    def _work(self):
        while self._has_calls():
            call, arguments, options = self._queue[0]
            is_made = self._make(call, arguments, options)
            with self._changed:
                self._queue.popleft()
                self._sent += is_made
                self._dropped += not is_made
                self._changed.notify_all()

    def _has_calls(self):
        """Wait for a call; return False if none comes any more, and no worker from then on."""
        with self._changed:
            while not self._queue and not self._is_leaving:
                self._changed.wait()
            if not self._queue:
                self._worker = None
            return bool(self._queue)

    def _make(self, call, arguments, options):
        try:
            call(*arguments, **options)
            return True
        except ESCAPED as error:
            name = getattr(call, "__name__", call)
            told = jsonable.describe(error)
            self._warn("call", "AsyncSession dropped a call of %s, which raised %s" % (name, told))
            return False
