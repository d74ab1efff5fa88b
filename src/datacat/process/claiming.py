"""How a pipeline gets its file: claimed, opened again, or made anew in a forked child.

Belongs here: which file, and not hanging in sqlite.  Does not: file names, when files close.
"""

from __future__ import absolute_import, division

import contextlib
import threading

from .. import locks
from .._compat import start_daemon
from ..outbox.names import identity_of
from ..outbox.no_store import NoStore
from ..outbox.refusals import SpoolUnusable
from ..outbox.spool import Spool
from . import fork, registry

# A log call may take 250 ms if something is broken, of which its own work needs some.
CHILD_OPENS_WITHIN = 0.2

_LOST = (
    "this process was forked while a thread of its parent was using sqlite, so it cannot use "
    "sqlite itself; start it anew (exec, multiprocessing's spawn) to have its records on disk"
)


class NoSpool(object):
    """Stands in for a Spool in a process that must not use sqlite."""

    def __init__(self):
        self.lock = locks.RLock()

    def _refuse(self, *_):
        raise SpoolUnusable(_LOST)

    claim = create = reopen = replacement = candidates = tidy = _refuse

    def has_living_heir(self, identity, mine):
        """Return False."""
        return False

    @contextlib.contextmanager
    def adopting(self):
        """Do nothing."""
        yield


def open_store(settings, scope, predecessor, warn):
    """Return (the Spool, the store with which a pipeline begins).

    A forked child makes a new file that names its parent's.  A pipeline that continues after a
    close takes the file it had before, if that is free.  All others take any free file, or make
    one.  If none of that is possible, the store is a NoStore.

    :param settings, scope: the pipeline's.
    :param predecessor: the Pipeline whose sessions continue in the new one, or None.
    :param warn: a callable (topic, message).
    """
    spool = Spool(settings.spool_dir, scope, settings.durability == "power", warn)
    try:
        return spool, _within_bounds(lambda: _claim(spool, predecessor))
    except SpoolUnusable as error:
        is_lost = fork.sqlite_is_lost()
        return NoSpool() if is_lost else spool, NoStore(error, is_final=is_lost)


def _claim(spool, predecessor):
    if predecessor is None or predecessor.outbox is None:
        return spool.claim()
    path = predecessor.outbox.path
    return spool.create(identity_of(path)) if predecessor.is_foreign else spool.reopen(path)


def _within_bounds(claim):
    """Return what `claim()` returns, if sqlite works in this process.

    If no hook guarded the fork, another thread of the parent may have been inside sqlite, whose
    mutexes then stay locked for ever.  So it is tried in a thread.
    """
    if fork.sqlite_is_lost():
        raise SpoolUnusable(_LOST)
    if fork.was_guarded() or not registry.has_inherited():
        return claim()
    made = []
    trial = threading.Thread(target=_try, args=(claim, made))
    if start_daemon(trial) is None:
        trial.join(CHILD_OPENS_WITHIN)
    if not made:
        fork.lose_sqlite()
        raise SpoolUnusable(_LOST)
    if isinstance(made[0], SpoolUnusable):
        raise made[0]
    return made[0]


def _try(claim, made):
    try:
        made.append(claim())
    except SpoolUnusable as error:
        made.append(error)
