"""The moment of a fork: no thread may be inside sqlite, whose mutexes the child would inherit.

Belongs here: the hooks of the fork, and whether a child may use sqlite.  Does not: what a child
does then.

Theory of operation

1. Before a fork the forking thread takes every lock without which no other thread of this process
   gets into sqlite, in the one order in which everybody takes them: the registry's, and of each
   pipeline its own, its spool's and those of its outboxes.
2. All of that takes FREEZE_SECONDS at most. Where a lock is not had by then, the fork goes on, and
   the child, with all its own children, keeps its records in memory only: sqlite's mutexes may be
   locked for ever there. The parent notices nothing.
3. Python ignores what is raised in a hook, as by the handler of a Ctrl-C, and calls the next one.
   So the hooks are registered twice, and each finishes what the one before it left undone.
4. Python before 3.7 has no hooks, and a fork in C code calls none: the child finds that they were
   not called, and tries sqlite out first (see opening).
"""

from __future__ import absolute_import, division

import os
import threading

from .. import _compat, locks
from .._compat import monotonic
from . import registry

FREEZE_SECONDS = 0.25


class _Freeze(threading.local):
    """What this thread has taken for its fork: several threads may be about to fork."""

    def __init__(self):
        super(_Freeze, self).__init__()
        self.until = None
        self.locks = []
        self.is_complete = False


class _Child(object):
    """What this process knows of the fork that made it."""

    guarded = None
    sqlite_is_lost = False


_freeze = _Freeze()


def was_guarded():
    """Return whether the hooks were called in the fork that made this process."""
    return _Child.guarded == os.getpid()


def sqlite_is_lost():
    """Return whether this process must not use sqlite at all."""
    return _Child.sqlite_is_lost


def lose_sqlite():
    """Note that this process and all that are forked from it must not use sqlite."""
    _Child.sqlite_is_lost = True


def _before():
    if _freeze.until is None:
        _freeze.until = monotonic() + FREEZE_SECONDS
    _freeze.is_complete = _take_all()


def _take_all():
    if not _take(registry.lock()):
        return False
    for pipeline in registry.pipelines():
        for lock in pipeline.locks_over_sqlite():
            if not _take(lock):
                return False
    return True


def _take(lock):
    if locks.is_owned(lock):
        return True
    # On the list first: a signal handler may raise when the lock is taken and this line not over.
    _freeze.locks.append(lock)
    return locks.acquire_within(lock, _freeze.until - monotonic())


def _after_in_parent():
    while _freeze.locks:
        locks.release_if_owned(_freeze.locks[-1])
        _freeze.locks.pop()
    _freeze.until = None
    for pipeline in registry.pipelines():
        pipeline.after_fork()


def _after_in_child():
    if not _freeze.is_complete:
        lose_sqlite()
    _Child.guarded = os.getpid()
    del _freeze.locks[:]
    _freeze.until = None


if _compat.SUPPORTS_FORK_HOOKS:
    for _ in range(2):
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )
