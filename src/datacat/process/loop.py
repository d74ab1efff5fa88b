"""A thread around a step: waking, sleeping and stopping, and nothing else.

Belongs here: `Loop`, and the list of what is asleep.  Does not: what a step does.
"""

from __future__ import absolute_import, division

import threading
import time

from .._compat import ESCAPED, monotonic, start_daemon
from ..locks import Bell, make_bell
from ..notices import LOGGER, be_quiet_here

_PAUSE_AFTER_FAULT = 1.0
_GLANCE_SECONDS = 0.05


def shortest(waits):
    """Return the shortest of some waits in seconds, of which None means for ever."""
    waits = [seconds for seconds in waits if seconds is not None]
    return min(waits) if waits else None


class Sleepers(list):
    """What must be woken when there is news, each with a method `wake`.

    It is empty while everything is awake, so that a log call only has to test it for truth.
    Threads, signal handlers and finalizers change it at the same time: each change is one step
    in C, and each sleep is an object of its own, so that nobody removes another's.
    """

    def wake(self):
        """Wake all; safe in signal handlers."""
        for sleeper in self[:]:
            sleeper.wake()

    def add(self, sleeper):
        """Add one that may be in the list already."""
        if sleeper not in self:
            self.append(sleeper)

    def discard(self, sleeper):
        """Remove one that may be gone already."""
        try:
            self.remove(sleeper)
        except ValueError:
            pass


class _Sleep(object):
    """One sleep of one loop."""

    __slots__ = ("_bell", "_sleepers")

    def __init__(self, bell, sleepers):
        self._bell = bell
        self._sleepers = sleepers

    def wake(self):
        # Rung first: an interruption in between means a second ring, not a missing one.
        self._bell.ring()
        self._sleepers.discard(self)


class Loop(object):
    """Calls step(now) -> seconds to wait (None: until woken) in a daemon thread, again and again.

    :param name: the thread's name.
    :param step: called with monotonic seconds.
    :param news: returns a value that changes when there is something new to step for.
    :param listens: returns whether news should wake it before its time.
    :param sleepers: the Sleepers in which it is found while it sleeps and listens.
    :param gather: seconds for which a step for news waits for more of it, because ten steps in a
        row cost a third of what ten single ones do; `wake` cuts it short.

    `start` and `ask_to_stop` may be called by one thread at a time, the rest by any.
    """

    def __init__(self, name, step, news, listens, sleepers, gather=0.0):
        self._bell = make_bell()
        self._name = name
        self._step = step
        self._news = news
        self._listens = listens
        self._sleepers = sleepers
        self._gather = gather
        self._sleep = None
        self._is_urgent = False
        # Held by the one thread that steps: another may be waiting to take over from it.
        self._turn = threading.Lock()
        self._stopping = False
        self._leaving = Bell()
        # None from the moment on at which it takes no further step.
        self._thread = None

    @property
    def is_running(self):
        """Whether there is a thread that goes on stepping."""
        return self._thread is not None and not self._stopping

    @property
    def is_current_thread(self):
        """Whether this very thread is the loop's."""
        return self._thread is threading.current_thread()

    def start(self):
        """Start, or go on after `ask_to_stop`; return None, or why no thread can be started."""
        self._stopping = False
        # One that is not alive was interrupted while it was started.
        if self._thread is not None and self._thread.is_alive():
            return None
        thread = self._thread = threading.Thread(target=self._run, name=self._name)
        error = start_daemon(thread)
        if error is not None:
            self._thread = None
        return error

    def wake(self):
        """Let the next step come at once; safe in signal handlers."""
        self._is_urgent = True
        self._bell.ring()

    def tell(self):
        """Say that there is news; free while it is awake, and safe in signal handlers."""
        sleep = self._sleep
        if sleep is not None:
            sleep.wake()

    def ask_to_stop(self):
        """Let the thread end after its present step."""
        self._stopping = True
        self.wake()

    def wait_until_stopped(self, seconds):
        """Wait until it takes no further step; return whether that is so in time.

        It does not wait for a thread that was not asked to stop, or is to go on again.

        Not by `Thread.join`: a signal handler that interrupts it leaves the thread marked as ended
        (before 3.13), or cannot start another one itself (2.7).
        """
        until = monotonic() + seconds
        while self._thread is not None and self._stopping and not self.is_current_thread:
            left = until - monotonic()
            if left <= 0:
                break
            # In slices, because another thread may be waiting for the same bell.
            self._leaving.wait(min(left, _GLANCE_SECONDS))
        return self._thread is None

    def _run(self):
        be_quiet_here()
        with self._turn:
            while self._goes_on():
                try:
                    self._step_and_rest()
                except ESCAPED:
                    # There is not even memory to report a fault, or to rest; or the application's
                    # logging handler calls sys.exit().
                    time.sleep(_PAUSE_AFTER_FAULT)
        self._leaving.ring()

    def _goes_on(self):
        """Return whether this thread takes another step; if not, `start` makes a new one.

        It gives up its claim before it looks whether to stop: a `start` between any two of these
        lines finds either a thread that will look again, or none.
        """
        me = threading.current_thread()
        if self._thread is not me:
            return False
        self._thread = None
        if self._stopping or self._thread is not None:
            return False
        self._thread = me
        return True

    def _step_and_rest(self):
        self._is_urgent = False
        seen = self._news()
        pause = self._guarded_step()
        if pause == 0.0:
            return
        # A loop that would sleep for ever must not miss news that came during its step.
        if pause is None or self._listens():
            self._sleep_unless_news(seen, pause)
        else:
            self._bell.wait(pause)
        if self._gather and not self._is_urgent and self._news() != seen:
            self._bell.wait(self._gather)

    def _sleep_unless_news(self, seen, pause):
        sleep = self._sleep = _Sleep(self._bell, self._sleepers)
        # In the list before the last look at the news: whatever comes later rings the bell.
        self._sleepers.append(sleep)
        if self._news() == seen:
            self._bell.wait(pause)
        self._sleep = None
        self._sleepers.discard(sleep)

    def _guarded_step(self):
        try:
            return self._step(monotonic())
        except MemoryError:
            # Not our bug: retry shortly.
            return _PAUSE_AFTER_FAULT
        except (SystemExit, KeyboardInterrupt):
            LOGGER.exception(
                "code of the application (before_record or a logging handler) tried to end the "
                "%s thread, which carries on",
                self._name,
            )
            return _PAUSE_AFTER_FAULT
        except Exception:
            LOGGER.exception(
                "this is a bug in datacat, please report it; the %s thread carries on", self._name
            )
            return _PAUSE_AFTER_FAULT
