"""A thread around a step: waking, sleeping and stopping, and nothing else.

Belongs here: `Loop`, and the list of what is asleep.  Does not: what a step does.
"""

from __future__ import absolute_import, division

import threading
import time

from .. import notices
from .._compat import ESCAPED, monotonic, start_daemon
from ..locks import Bell, make_bell
from ..stack import RecoverableOverflow, try_with_room

_PAUSE_AFTER_FAULT = 1.0
_GLANCE_SECONDS = 0.05


def shortest(waits):
    """Return the shortest of some waits in seconds; None means for ever."""
    waits = [seconds for seconds in waits if seconds is not None]
    return min(waits) if waits else None


class Sleepers(list):
    """Whatever must be woken for a new record, each with a method `wake`.

    It is empty while everything is awake, so a log call only has to test it for truth.  Threads,
    signal handlers and finalizers change it at the same time: each change is a single step in C,
    and each sleep is an object of its own, so nobody removes another's.
    """

    def wake(self):
        """Wake all; safe in signal handlers, and where hardly any stack is left."""
        try:
            self._wake_all()
        except RecoverableOverflow:
            try_with_room(self._wake_all)

    def _wake_all(self):
        for sleeper in self[:]:
            sleeper.wake()

    def add(self, sleeper):
        """Add a sleeper, unless it is in the list."""
        if sleeper not in self:
            self.append(sleeper)

    def discard(self, sleeper):
        """Remove a sleeper, if it is in the list."""
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
    """Repeats step(now) -> seconds to wait (None: until woken) in a daemon thread.

    :param name: the thread's name.
    :param step: called with monotonic seconds.
    :param news: returns a value that changes with every new record.
    :param listens: returns whether new records wake it early.
    :param sleepers: the Sleepers that it is in while it sleeps and listens.
    :param gather: seconds to wait for more records before a step, because ten steps in a row cost
        a third of what ten single ones do; `wake` cuts it short.

    One thread at a time may call `start` and `ask_to_stop`; any may call the rest.
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
        # Held by the thread that steps; another may be waiting to take over.
        self._turn = threading.Lock()
        self._stopping = False
        self._leaving = Bell()
        # None once it will take no further step.
        self._thread = None

    @property
    def is_running(self):
        """Whether there is a thread that will take another step."""
        # Between two steps it holds its turn, and for a moment has given up its claim.
        return not self._stopping and (self._thread is not None or self._turn.locked())

    @property
    def is_current_thread(self):
        """Whether the calling thread is the loop's."""
        return self._thread is threading.current_thread()

    def start(self):
        """Start, or continue after `ask_to_stop`; return None, or why no thread can be started."""
        self._stopping = False
        # A thread that is not alive is one whose start was interrupted.
        if self._thread is not None and self._thread.is_alive():
            return None
        thread = self._thread = threading.Thread(target=self._run, name=self._name)
        error = start_daemon(thread)
        if error is not None:
            self._thread = None
        return error

    def wake(self):
        """Make the next step happen at once; safe in signal handlers."""
        self._is_urgent = True
        self._bell.ring()

    def nudge(self):
        """Wake it for a new record if it sleeps; free if not, and safe in signal handlers."""
        sleep = self._sleep
        if sleep is not None:
            sleep.wake()

    def ask_to_stop(self):
        """Have the thread end after its current step."""
        self._stopping = True
        self.wake()

    def wait_until_stopped(self, seconds):
        """Wait until it takes no further step; return whether that happened in time.

        Does not wait for a thread that was not asked to stop, or was started again meanwhile.

        Not by `Thread.join`: if a signal handler interrupts it, the thread stays marked as ended
        (before 3.13), or the handler cannot start another one (2.7).
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
        notices.be_quiet_here()
        me = threading.current_thread()
        with self._turn:
            while self._goes_on(me):
                try:
                    self._step_and_rest()
                except ESCAPED:
                    # There is not even enough memory to report a bug, or to sleep; or the
                    # application's logging handler calls sys.exit().
                    time.sleep(_PAUSE_AFTER_FAULT)
        self._leaving.ring()

    def _goes_on(self, me):
        """Return whether this thread, `me`, takes another step; if not, `start` makes a new one.

        It gives up its claim before it checks whether to stop, so that a `start` between any two
        of these lines finds either a thread that will check again, or none.
        """
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
        # A loop that would sleep for ever must not miss a record that came during its step.
        if pause is None or self._listens():
            self._sleep_unless_news(seen, pause)
        else:
            self._bell.wait(pause)
        if self._gather and not self._is_urgent and self._news() != seen:
            self._bell.wait(self._gather)

    def _sleep_unless_news(self, seen, pause):
        sleep = self._sleep = _Sleep(self._bell, self._sleepers)
        # In the list before the last check for news: whatever comes later rings the bell.
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
            notices.report(
                "code of the application (before_record or a logging handler) tried to end the "
                "%s thread, which carries on" % self._name
            )
            return _PAUSE_AFTER_FAULT
        except Exception:
            notices.report(
                "bug in datacat, please report it (the %s thread continues)" % self._name
            )
            return _PAUSE_AFTER_FAULT
