"""The library's log messages: its logger, and warnings that are not repeated.

Belongs here: the logger, which warnings were given and when, and silencing urllib3 while it works
for us.  Does not: what to warn of.
"""

from __future__ import absolute_import, division

import contextlib
import logging
import signal
import sys
import threading

from ._compat import ESCAPED, is_main_thread, monotonic

LOGGER = logging.getLogger("datacat")

_URLLIB3_LOGGERS = tuple(
    "urllib3." + name
    for name in ("connection", "connectionpool", "poolmanager", "response", "util.retry")
)
_here = threading.local()
_informed = set()

# A disk at its limit can refuse and recover with every few records.
_SECONDS_BETWEEN = 60.0


def warn(message):
    """Log a warning; an application's broken handler or filter does not raise here."""
    _log(logging.WARNING, message)


def inform_once(message):
    """Log a message at INFO, once per process; a broken handler or filter does not raise here."""
    if message not in _informed:
        _informed.add(message)
        _log(logging.INFO, message)


def report(message):
    """Log an error with the exception being handled; a broken handler or filter does not raise."""
    _log(logging.ERROR, message, exc_info=True)


def _log(level, message, exc_info=False):
    # Such as a handler with a bug of its own, or one that writes to a closed stderr.  No call may
    # fail, and no record get lost, because something about it cannot be logged.
    try:
        LOGGER.log(level, "%s", message, exc_info=exc_info)
    except Exception:
        pass
    except ESCAPED as error:
        # In the main thread, a signal handler may want to end the program just now.
        if is_main_thread() and (not isinstance(error, SystemExit) or _may_be_from_signal()):
            raise


def _may_be_from_signal():
    """Return whether a signal handler may have raised the exception being handled."""
    handlers = [signal.getsignal(number) for number in range(1, signal.NSIG)]
    own = [each for each in handlers if callable(each) and each is not signal.default_int_handler]
    codes = [getattr(each, "__code__", None) for each in own]
    trace = sys.exc_info()[2]
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    # The frame of a handler that is not a function cannot be recognised.
    return None in codes


def prepare_to_be_quiet():
    """Let urllib3's loggers be silenced in some threads; to be called while requests is imported.

    Only then: `getLogger` takes a lock.  Python before 3.7 leaves that locked in a child that is
    forked meanwhile, but forks at no time when a thread imports (2.7), or imports in the thread
    that forks (3.6, see `wire.importing`).
    """
    for name in _URLLIB3_LOGGERS:
        logger = logging.getLogger(name)
        logger.isEnabledFor = _HeardElsewhere(logger.isEnabledFor)


def be_quiet_here():
    """Silence urllib3's loggers in this thread, which is one of the library's own.

    An application may send its log to datacat. Each request would then log a record, which needs
    another request, and so on.  And a broken filter would make each request fail.
    """
    _here.is_quiet = True


@contextlib.contextmanager
def quiet():
    """Silence urllib3's loggers in this thread, which is the application's, for a while."""
    was_quiet = getattr(_here, "is_quiet", False)
    be_quiet_here()
    try:
        yield
    finally:
        _here.is_quiet = was_quiet


class _HeardElsewhere(object):
    """A logger's `isEnabledFor`: False while urllib3 works for the library in this thread.

    Not a filter: before those, the application's own filters and its record factory are called.
    """

    def __init__(self, is_enabled_for):
        self._is_enabled_for = is_enabled_for

    def __call__(self, level):
        return not getattr(_here, "is_quiet", False) and self._is_enabled_for(level)


class Notices(object):
    """Logs a warning once per topic until the topic is cleared; thread-safe.

    After that, too, it is not logged again within a minute.

    :param clock: a callable that returns monotonic seconds.
    """

    def __init__(self, clock=monotonic):
        self._clock = clock
        self._given = set()
        self._lately = {}

    def __call__(self, topic, message):
        if topic in self._given:
            return
        self._given.add(topic)
        now = self._clock()
        self._lately = dict(
            (each, at) for each, at in list(self._lately.items()) if now - at < _SECONDS_BETWEEN
        )
        if topic not in self._lately:
            self._lately[topic] = now
            warn(message)

    def clear(self, topic):
        """Let a warning about the topic be logged again."""
        self._given.discard(topic)
