"""How long log calls asked to wait, and the promise that they never hold up the application.

Belongs here: what the recorder counts during a call, what is asserted of it, and how programs keep
a slow machine out of it.  Does not: how long calls take (see benchmarks/log_calls.py).

A call that waits for somebody else's lock does so by `locks.acquire_within`.  The seconds that it
asks for are the same on every machine; those that pass are not.
"""

from __future__ import absolute_import, division

import threading

from datacat import locks
from datacat.outbox import disk
from tools.invariants import RETURNED, read_accepted

HEALTHY_DISK = 0.050  # seconds that a log call may ask to wait
# Also for a call that opens an outbox: the first of a forked child, or one after `close`.
SICK_DISK = 0.250
# No machine is so slow that a call takes as many seconds, unless it waits for something.
HANG = 30.0

_PATIENCE = 60.0
_SLOW_SECONDS = disk.SLOW_SECONDS
_acquire_within = locks.acquire_within


class _Asked(threading.local):
    calls = 0
    seconds = 0.0


_asked = _Asked()
_granted = 0.0


def _acquire_and_count(lock, seconds):
    if not _asked.calls:
        return _acquire_within(lock, seconds)
    _asked.seconds += max(0.0, seconds)
    return _acquire_within(lock, max(seconds, _granted))


locks.acquire_within = _acquire_and_count


def be_patient(is_patient=True):
    """Let recorded calls wait for a lock as long as it takes, whatever they ask for.

    A call that does not get the outbox's lock in time, because the thread that has it waits for a
    processor, leaves its record in memory, and a kill takes it.  That must not happen to a program
    that is killed; nor must a disk pass for slow.
    """
    global _granted
    _granted = _PATIENCE if is_patient else 0.0
    disk.SLOW_SECONDS = _PATIENCE if is_patient else _SLOW_SECONDS


class Asking(object):
    """How many seconds the calling thread asks to wait for locks, from now on.

    Calls may be nested, as in a signal handler: each counts what it asks for itself.
    """

    def __init__(self):
        self._outer = _asked.seconds
        _asked.seconds = 0.0
        _asked.calls += 1

    def end(self):
        """Return the seconds, and count no more."""
        _asked.calls -= 1
        seconds, _asked.seconds = _asked.seconds, self._outer
        return seconds


def check_calls(files, longest=HEALTHY_DISK):
    """Assert that no log call hung, or asked to wait for longer than it may."""
    calls = [call for call in read_accepted(files).values() if call.outcome == RETURNED]
    assert calls, "no call returned"
    for call in calls:
        assert call.asked <= longest, "%r asked to wait %.1f ms" % (call, call.asked * 1000)
        assert call.ended - call.began <= HANG, "%r took %.1f s" % (call, call.ended - call.began)
