"""Native crashes: `enable_faulthandler`.

Theory of operation

1. Python's faulthandler writes the stacks of all threads to a descriptor, in a signal handler in
   C, where nothing can be checked.  So the descriptor has a high number, which no other file gets
   soon if somebody closes it, and the keeper checks it whenever it wakes.
2. The file is one session's: the report of that session's crash carries what is in it.  A process
   has one such file, because it has one faulthandler.
3. faulthandler keeps the only reference to the object that it was given as a file.  If that is
   gone, the application has disabled faulthandler, or enabled it for a file of its own.
4. A forked child inherits faulthandler and the descriptor, and would write to its parent's file.
   So it is disabled there, by a hook or, where there is none, by the keeper.  Once the child has
   an outbox of its own, its keeper makes the child a file as well.

Belongs here: what faulthandler writes to, and when.  Does not: the file (see `outbox.stacks`), and
what is told of a crash (see `sending.adoption`).
"""

from __future__ import absolute_import, division

import os
import weakref

from .. import _compat, locks
from ..descriptors import Descriptors
from ..outbox import names, stacks

try:
    import faulthandler
except ImportError:
    faulthandler = None  # Python 2.7

_NOT_ENABLED = "enable_faulthandler has no effect: %s"
_locks = {}


class _Process(object):
    """What this process does about native crashes; a forked child inherits it.

    :cvar watch: its _Watch, or None.
    :cvar awaited: a weak reference to the Membership for which another _Watch is to be made, or
        None.
    """

    watch = awaited = None
    is_hooked = False


class _Target(object):
    """What faulthandler takes for a file."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def fileno(self):
        return self._descriptor

    def flush(self):
        pass


class _Watch(object):
    """faulthandler, while it writes for a session.

    :raises EnvironmentError: if the file cannot be made.
    """

    def __init__(self, membership, path):
        self.process = os.getpid()
        self.membership = weakref.ref(membership)
        self._path = path
        self._descriptor = stacks.create(path)
        self._own = Descriptors(self._descriptor)
        target = _Target(self._descriptor)
        self._target = weakref.ref(target)
        faulthandler.enable(target)

    @property
    def is_wanted(self):
        """Whether the application has left faulthandler as it was enabled here."""
        return self._target() is not None

    @property
    def is_good(self):
        """Whether it writes to this process's own file."""
        return self.is_wanted and self.process == os.getpid() and self._own.are_ours()

    def stop(self):
        """Have faulthandler write there no more, and remove the file if it is this process's."""
        if self.is_wanted:
            faulthandler.disable()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and self._own.are_ours():
            os.close(descriptor)
        if self.process == os.getpid():
            stacks.remove(self._path)


def enable(membership):
    """Have the stacks of a native crash written beside the outbox of a session.

    :param membership: its Membership.
    :returns: whether they will be; if not, a warning says why.
    """
    here = membership.place
    # A session that is over is not opened again for this.
    if here.process != os.getpid() and not here.entry.goodbye:
        membership.join()
    outcome = []
    locks.run_holding(_lock(), lambda: outcome.append(_enable(membership)))
    return outcome[0]


def _enable(membership):
    obstacle = _obstacle(membership)
    if obstacle is None and not _is_working():
        _stop()
        try:
            _Process.watch = _Watch(membership, _path_for(membership))
            _hook_forks()
        except EnvironmentError as error:
            obstacle = "its file cannot be made (%s)" % error
    if obstacle is not None:
        membership.warn("faulthandler", _NOT_ENABLED % obstacle)
    return obstacle is None


def _obstacle(membership):
    """Return why it cannot be enabled for a session, None if it can or is."""
    if faulthandler is None:
        return "this Python has no module faulthandler"
    if not membership.is_recording:
        return "recording is off: call it again when it is on"
    if _path_for(membership) is None:
        return "the session's records are in memory only, so there is no folder for its file"
    if membership.place.entry.goodbye:
        return "the session has ended, or was closed"
    watch = _Process.watch
    if faulthandler.is_enabled() and (watch is None or not watch.is_wanted):
        return "the program has enabled faulthandler, which is left alone"
    if _is_working() and watch.membership() is not membership:
        return "another session of this process has enabled it"
    return None


def _is_working():
    return _Process.watch is not None and _Process.watch.is_good


def _path_for(membership):
    pipeline = membership.place.pipeline
    if pipeline is None:
        return None
    return names.stacks_of(pipeline.outbox.path, membership.local_id, os.getpid())


def check():
    """For a keeper: see to it that faulthandler writes to this process's own file only."""
    if _Process.awaited is not None or (_Process.watch is not None and not _is_working()):
        locks.run_holding(_lock(), _repair)


def _repair():
    if _Process.watch is not None and not _is_working():
        _let_go()
    membership = None if _Process.awaited is None else _Process.awaited()
    if membership is None:
        _Process.awaited = None
    elif membership.place.process == os.getpid():
        _Process.awaited = None
        _enable(membership)


def _let_go():
    """Stop writing to what is not this process's file; await another, if that is still wanted."""
    watch = _Process.watch
    awaited = watch.membership if watch.is_wanted else None
    _stop()
    _Process.awaited = awaited


def release(membership):
    """Disable it if it is enabled for a session, which is over in this process."""
    for each in (_Process.watch and _Process.watch.membership, _Process.awaited):
        if each is not None and each() is membership:
            stop()


def stop():
    """Disable it, unless it is the application's own."""
    if _Process.watch is not None or _Process.awaited is not None:
        locks.run_holding(_lock(), _stop)


def _stop():
    watch, _Process.watch, _Process.awaited = _Process.watch, None, None
    if watch is not None:
        watch.stop()


def _lock():
    return locks.of_this_process(_locks)


def _hook_forks():
    if _compat.SUPPORTS_FORK_HOOKS and not _Process.is_hooked:
        _Process.is_hooked = True
        os.register_at_fork(after_in_child=_after_in_child)


def _after_in_child():
    if _Process.watch is not None:
        _let_go()
