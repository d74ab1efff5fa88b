"""Locks and bells that are safe in signal handlers, finalizers and forked children too.

Belongs here: mechanisms that any package may use.  Does not: what they protect or announce.
"""

from __future__ import absolute_import, division

import os
import select
import sys
import threading
import time

import six
from six.moves import _thread

from ._compat import get_ident, monotonic
from .descriptors import Descriptors

_POLL_SHORTEST = 0.00005
_POLL_LONGEST = 0.05
_OWNER = 0
_RINGS_AT_ONCE = 65536


def acquire_within(lock, seconds):
    """Acquire `lock` (a Lock or RLock), waiting `seconds` at most; return whether that worked.

    Python 2.7 has no timed acquire, so it polls.
    """
    if six.PY3:
        return lock.acquire(True, max(0.0, min(seconds, threading.TIMEOUT_MAX)))
    until = monotonic() + seconds
    pause = _POLL_SHORTEST
    while not lock.acquire(False):
        left = until - monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 2, _POLL_LONGEST)
    return True


def run_holding(lock, step, seconds=None):
    """Call `step()` while holding an RLock; return whether the lock was free in time.

    Unlike `with` on 2.7, this leaves nothing held if a signal handler raises after the lock was
    taken and before the first line of the block.

    :param seconds: how long to wait for the lock; None: for ever.
    """
    if is_owned(lock):
        step()
        return True
    try:
        try:
            if not (lock.acquire() if seconds is None else acquire_within(lock, seconds)):
                return False
            step()
            return True
        finally:
            release_if_owned(lock)
    except BaseException:
        # The `finally` itself may have been interrupted.
        release_if_owned(lock)
        raise


def of_this_process(made):
    """Return this process's RLock, made when it is first asked for.

    A process does not use its parent's: a thread of the parent may have held it at the fork.

    :param made: {process id: RLock}, a dict that only this function uses.
    """
    return made.setdefault(os.getpid(), RLock())


def release_if_owned(lock):
    """Release an RLock completely if this thread holds it.

    For code that a signal handler interrupted, and that cannot tell whether it has the lock.
    """
    while is_owned(lock):
        lock.release()


def is_owned(lock):
    """Return whether this thread holds an RLock."""
    return lock._is_owned()


def ownership_of(lock):
    """Return a callable that returns whether the calling thread holds an RLock."""
    return lock._is_owned


class ReentrantLock(object):
    """`threading.RLock` for 2.7, whose own breaks if a signal handler takes it too.

    That one is written in Python, and a handler that runs between two of its lines can release it
    twice.  Here a single step in C takes the lock and notes its owner, so a handler finds it
    either taken or free.  Waiting for it means polling.
    """

    def __init__(self):
        self._owner = {}
        self._depth = 0

    def acquire(self, blocking=True):
        """Take the lock, once more if this thread has it; return whether that worked."""
        if self._is_owned():
            self._depth += 1
            return True
        me = get_ident()
        while self._owner.setdefault(_OWNER, me) != me:
            if not blocking:
                return False
            time.sleep(_POLL_SHORTEST)
        return True

    def release(self):
        """Undo one `acquire`."""
        if self._depth:
            self._depth -= 1
        else:
            del self._owner[_OWNER]

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()

    def _is_owned(self):
        return self._owner.get(_OWNER) == get_ident()


# On Python 3 it is written in C, and each call is atomic.
RLock = threading.RLock if six.PY3 else ReentrantLock


class Bell(object):
    """Wakes one sleeping thread; safe to ring in signal handlers and finalizers.

    `threading.Event` is not: setting it takes a lock, for which a handler that interrupts this in
    its own thread would wait for ever.
    """

    def __init__(self):
        # Held until somebody rings.
        self._silence = threading.Lock()
        self._silence.acquire()

    def wait(self, seconds):
        """Sleep until the bell rings, `seconds` at most (None: for ever)."""
        if seconds is None:
            self._silence.acquire()
        else:
            acquire_within(self._silence, seconds)

    def ring(self):
        """Wake the sleeper, or let its next `wait` return at once."""
        try:
            self._silence.release()
        except (RuntimeError, _thread.error):
            pass


class PipeBell(object):
    """A Bell whose sleep does not depend on the wall clock; takes two descriptors.

    Before 3.11, Python's waits for a lock end at a certain wall-clock time (futex(2)): if the
    clock is set back by an hour, they last an hour longer.  Those of poll(2) are relative.

    If another part of the process closes them, a Bell takes over.  It may be asleep then: it wakes
    when the other end of its pipe is closed or written to.
    """

    _ends = ()

    def __init__(self):
        self._owner = os.getpid()
        self._ends = self._read_end, self._write_end = os.pipe()
        for end in self._ends:
            os.set_blocking(end, False)
        self._descriptors = Descriptors(*self._ends)
        self._writing = Descriptors(self._write_end)
        self._instead = Bell()
        self._poll = select.poll()
        self._poll.register(self._read_end, select.POLLIN)

    def wait(self, seconds):
        """Sleep until the bell rings, `seconds` at most (None: for ever)."""
        if not self._descriptors.are_ours():
            self._instead.wait(seconds)
            return
        # Rounded up: a thread that woke early would have to sleep again.
        woken = self._poll.poll(None if seconds is None else int(seconds * 1000) + 1)
        if woken and self._descriptors.are_ours():
            try:
                os.read(self._read_end, _RINGS_AT_ONCE)
            except OSError:
                pass  # a forked child has read it

    def ring(self):
        """Wake the sleeper, or let its next `wait` return at once."""
        try:
            if self._writing.are_ours():
                os.write(self._write_end, b"!")
        except OSError:
            pass  # the pipe is full: the next `wait` returns at once anyway
        if not self._descriptors.are_ours():
            self._instead.ring()

    def __del__(self):
        # In a forked child these descriptors may be other files by now.
        if self._ends and os.getpid() == self._owner and self._descriptors.are_ours():
            for end in self._ends:
                os.close(end)


def make_bell():
    """Return a Bell or PipeBell, whichever this Python needs."""
    if six.PY3 and sys.version_info < (3, 11) and hasattr(select, "poll"):
        try:
            return PipeBell()
        except OSError:
            pass  # out of descriptors
    return Bell()
