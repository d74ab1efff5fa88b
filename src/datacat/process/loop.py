"""A thread around a step: nothing but waking, sleeping and stopping.

What may live here: `Loop`.  What may not: what a step does.
"""

from __future__ import absolute_import, division

import threading
import time

from .._compat import monotonic, start_thread
from ..locks import make_bell
from ..notices import LOGGER, be_quiet_here

_PAUSE_AFTER_FAULT = 1.0


class Loop(object):
    """Runs step(now) -> seconds to wait (None: until woken) in a daemon thread, again and again.

    :param name: the thread's name.
    :param step: called with monotonic seconds.
    :param news: returns a value that changes when there is something new to step for.
    :param listens: returns whether news should wake it before its time.
    :param linger: seconds that news waits for company, because ten steps in a row cost a third
        of what ten single ones do; `wake` cuts it short.
    """

    def __init__(self, name, step, news, listens, linger=0.0):
        self.bell = make_bell()
        self._linger = linger
        self._is_urgent = False
        self._name = name
        self._step = step
        self._news = news
        self._listens = listens
        self._turn = threading.Lock()
        self._stopping = False
        self._thread = None

    @property
    def is_running(self):
        """Whether there is a thread that steps."""
        return self._thread is not None and self._thread.is_alive()

    def start(self):
        """Start, or go on after `stop`; return False where the interpreter starts no thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._thread.daemon = True
        return start_thread(self._thread)

    def wake(self):
        """Let the next step come at once. Safe in signal handlers."""
        self._is_urgent = True
        self.bell.ring()

    def tell(self):
        """Say that there is news; costs nothing where it is awake. Safe in signal handlers."""
        if self.bell.awaited:
            # Once: a second ring would cut the lingering short.
            self.bell.awaited = False
            self.bell.ring()

    def stop(self, seconds):
        """Ask the thread to stop and wait for it; return whether it did in time."""
        self._stopping = True
        self.wake()
        if self.is_running and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, seconds))
        return not self.is_running

    def _run(self):
        be_quiet_here()
        # A thread that was told to stop may still be in its last step when the next one starts.
        with self._turn:
            while not self._stopping and self._thread is threading.current_thread():
                try:
                    self._step_and_rest()
                except Exception:
                    # Not even telling a fault worked, or resting: there is no memory.
                    time.sleep(_PAUSE_AFTER_FAULT)

    def _step_and_rest(self):
        self._is_urgent = False
        seen = self._news()
        pause = self._guarded_step()
        if pause == 0.0:
            return
        # Who would sleep for ever must heed what came while it made up its mind.
        heeds = self.bell.awaited = pause is None or self._listens()
        if not heeds or self._news() == seen:
            self.bell.wait(pause)
        self.bell.awaited = False
        if self._linger and not self._is_urgent and self._news() != seen:
            self.bell.wait(self._linger)

    def _guarded_step(self):
        try:
            return self._step(monotonic())
        except MemoryError:
            # No fault of ours, and over soon or never.
            return _PAUSE_AFTER_FAULT
        except Exception:
            LOGGER.exception("a fault in datacat itself; please report it. It goes on")
            return _PAUSE_AFTER_FAULT
