"""A pipeline's lock, and the sessions that could not get it in time.

Belongs here: `Gate`.  Does not: what is done with the lock, what admitting a session means.
"""

from __future__ import absolute_import, division

import collections

from .. import locks

# Of the 250 ms that a log call may take on a sick disk.
LONGEST_WAIT_FOR_LOCK = 0.2


class Errand(object):
    """A sleeper that is not a thread: something for the next log call to do."""

    def __init__(self, wake):
        self.wake = wake


class Gate(object):
    """The lock of one pipeline; thread-safe, and safe in signal handlers and finalizers.

    Sessions that cannot be admitted at once are put off: whoever is inside admits them on the way
    out.  If that is interrupted, the keeper or the next log call does.

    :param admit: a callable (member), called with the lock.
    :param welcome: a callable (member), called after it without the lock.
    :param is_inside: whether this thread is in the middle of what must not be interrupted,
        besides having the lock.
    :param sleepers: the pipeline's Sleepers.
    """

    def __init__(self, admit, welcome, is_inside, sleepers):
        self.lock = locks.RLock()
        self._admit = admit
        self._welcome = welcome
        self._is_inside = is_inside
        self._sleepers = sleepers
        self._put_off = collections.deque()
        self._admission = Errand(self.admit_those_put_off)

    def locked(self, step, seconds=LONGEST_WAIT_FOR_LOCK):
        """Call `step()` with the lock held; return whether it was called.

        Not if this call interrupts its own thread inside, or if the lock is not free in time.
        """
        is_done = self._hold(step, seconds)
        if is_done:
            self.admit_those_put_off()
        return is_done

    def _hold(self, step, seconds):
        is_inside = locks.is_owned(self.lock) or self._is_inside()
        return not is_inside and locks.run_holding(self.lock, step, seconds)

    def admit(self, member, seconds):
        """Admit a session, or put it off; return whether it was admitted."""
        is_done = self._hold(lambda: self._admit(member), seconds)
        if not is_done:
            self._put_off.append(member)
            # Whoever was inside may have left without noticing.
            self.admit_those_put_off()
        return is_done

    def admit_those_put_off(self):
        """Admit them, unless another thread is inside, which then does it.

        In a loop, not by `admit` or `locked`, which would recurse: there may be hundreds.
        """
        if not self._put_off:
            return
        self._sleepers.discard(self._admission)
        admitted = []
        while self._put_off and self._hold(lambda: self._admit_first(admitted), 0):
            while admitted:
                self._welcome(admitted.pop())
        if self._put_off:
            self._sleepers.add(self._admission)

    def _admit_first(self, admitted):
        if self._put_off:
            member = self._put_off[0]
            self._admit(member)
            admitted.append(member)
            self._put_off.popleft()
