"""Forks: no thread may be inside sqlite, whose mutexes the child would inherit locked.

Belongs here: the hooks of a fork, and whether a child may use sqlite.  Does not: what a child does
then.

Theory of operation

1. Before a fork, the forking thread takes every lock that keeps other threads of this process out
   of sqlite, in the usual order: the registry's, then each pipeline's own, its spool's and its
   outboxes'.
2. That takes FREEZE_SECONDS at most. If a lock is not free by then, the fork goes ahead, and the
   child and all its descendants keep their records in memory only, because sqlite's mutexes may be
   locked for ever there. The parent is not affected.
3. Before all that, it waits for requests to be imported, IMPORT_SECONDS at most: the child would
   inherit half of it, and with it locks of Python's (see `wire.importing`).
4. Python ignores exceptions in hooks, such as a KeyboardInterrupt, and calls the next hook. So the
   hooks are registered twice, and the second call completes what the first left undone.
5. Python before 3.7 has no hooks, and forks in C code call none. The child notices that none was
   called, and tries sqlite in a thread first (see claiming).
"""

from __future__ import absolute_import, division

import os
import threading

from .. import _compat, locks
from .._compat import monotonic
from ..wire import importing
from . import registry

FREEZE_SECONDS = 0.25
IMPORT_SECONDS = 5.0


class _Freeze(threading.local):
    """The locks that this thread took for its fork; several threads may be about to fork."""

    def __init__(self):
        super(_Freeze, self).__init__()
        self.until = None
        self.locks = []
        self.is_complete = False
        self.splits_import = False


class _Child(object):
    """What this process knows about the fork that made it."""

    guarded = None
    sqlite_is_lost = False


_freeze = _Freeze()


def was_guarded():
    """Return whether the hooks were called at the fork that made this process."""
    return _Child.guarded == os.getpid()


def sqlite_is_lost():
    """Return whether this process must not use sqlite at all."""
    return _Child.sqlite_is_lost


def lose_sqlite():
    """Note that this process and its forked descendants must not use sqlite."""
    _Child.sqlite_is_lost = True


def _before():
    if _freeze.until is None:
        _freeze.splits_import = not _is_import_over()
        _freeze.until = monotonic() + FREEZE_SECONDS
    _freeze.is_complete = _take_all()


def _is_import_over():
    return importing.is_done() or _take(importing.lock(), IMPORT_SECONDS)


def _take_all():
    if not _take_in_time(registry.lock()):
        return False
    for pipeline in registry.pipelines():
        for lock in pipeline.locks_over_sqlite():
            if not _take_in_time(lock):
                return False
    return True


def _take_in_time(lock):
    return _take(lock, _freeze.until - monotonic())


def _take(lock, seconds):
    if locks.is_owned(lock):
        return True
    # Listed first: a signal handler may raise as soon as the lock is taken.
    _freeze.locks.append(lock)
    return locks.acquire_within(lock, seconds)


def _after_in_parent():
    while _freeze.locks:
        # Released, then removed: if this is interrupted, the second call completes it.
        locks.release_if_owned(_freeze.locks[-1])
        _freeze.locks.pop()
    _freeze.until = None
    for pipeline in registry.pipelines():
        pipeline.after_fork()


def _after_in_child():
    if not _freeze.is_complete:
        lose_sqlite()
    if _freeze.splits_import:
        importing.cut_off()
    _Child.guarded = os.getpid()
    # Not released: the child uses none of its parent's pipelines.
    del _freeze.locks[:]
    _freeze.until = None


if _compat.SUPPORTS_FORK_HOOKS:
    for _ in range(2):
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )
