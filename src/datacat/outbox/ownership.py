"""The second proof that an outbox has an owner: a companion file, `<outbox>-owner`.

1. sqlite's own lock goes as soon as anybody in the process closes a descriptor of the outbox, such
   as an application that zips its own folder (fcntl(2), advisory record locking).  So the owner
   also holds the companion, by flock: only its own descriptor, and copies of that, can drop it.
2. A forked child has such a copy, and may live long after the owner has died.  So the companion
   names its owner: process, start of the program, boot, and namespace of process ids.  Where that
   tells whether the owner lives, it counts, and the lock does not.
3. The lock counts where it does not tell: on a system without /proc, in another container, and for
   a companion that names nobody.
4. The companion is locked before sqlite opens the outbox, and named afterwards: whoever loses the
   outbox to another process must not sign for it.
5. Between opening the companion and locking it, another process may remove both files, and later
   a cleaner may remove the companion alone.  So the file under its name must be the one that is
   locked, or it is opened again, and made anew.
6. Without flock (some network file systems), or if the companion cannot be made, sqlite's lock is
   the only proof, as on systems where closing a file drops no lock (Windows).

Belongs here: the companion, and whether it proves that an outbox has an owner.  Does not: sqlite's
lock, and what follows.
"""

from __future__ import absolute_import, division

import collections
import errno
import os

try:
    import fcntl
except ImportError:
    fcntl = None

from .. import _compat
from ..descriptors import Descriptors
from .file_locks import HELD
from .refusals import StoreHeld

OWNER = "-owner"
_FILE_MODE = 0o600
_LONGEST = 200
_ATTEMPTS = 20
_ENDED = ("Z", "X")

# Of a process, texts; "" where unknown.
Owner = collections.namedtuple("Owner", "process start boot namespace")


OURS = "ours"
LIVES = "lives"
DEAD = "dead"
UNKNOWN = "unknown"


def judge(owner, me, start):
    """Return what a companion's content tells of the owner: OURS, LIVES, DEAD or UNKNOWN.

    :param owner: the Owner that it names, or None.
    :param me: the Owner that this process would be.
    :param start: the start of the process of that number, as `_start` returns it.
    """
    if owner is None or not (owner.start and owner.boot) or owner[2:] != me[2:]:
        return UNKNOWN
    if owner.process == me.process:
        return OURS
    if start == "":
        return UNKNOWN
    return LIVES if start is not None and _are_same(start, owner.start) else DEAD


class Ownership(object):
    """This process's claim to one outbox.

    :ivar missing: the error because of which there is no companion, None if there is one.
    :param path: the outbox's path.
    """

    def __init__(self, path):
        self._path = path
        self._descriptor = None
        self._own = Descriptors()
        self._is_signed = False
        self.missing = None

    def claim(self):
        """Lock the companion.

        :raises StoreHeld: if another process owns the outbox.
        """
        if fcntl is None:
            return
        for _ in range(_ATTEMPTS):
            try:
                self._descriptor = _open(self._path + OWNER)
                self._own = Descriptors(self._descriptor)
                _, verdict = _judged(self._descriptor)
                is_locked = not _lock(self._descriptor)
                is_current = self._is_current()
            except EnvironmentError as error:
                self.missing = error
                return
            if verdict is LIVES or (verdict is UNKNOWN and is_locked):
                self.release()
                raise StoreHeld("the outbox %s belongs to another process" % self._path)
            if is_current:
                return
            self.release()

    def renew(self, descriptors):
        """Make the companion anew if somebody has removed it; harmless if not.

        :param descriptors: those that notice when the companion's is closed.
        """
        if self._descriptor is None or not self._own.are_ours() or self._is_current():
            return
        fresh = Ownership(self._path)
        try:
            fresh.claim()
        except StoreHeld:
            return  # another process tries the outbox just now, and then leaves it
        if fresh.missing is None:
            fresh.sign()
            descriptors.discard(self._descriptor)
            self._close()
            self._descriptor, self._own = fresh._descriptor, fresh._own
            self.add_to(descriptors)

    def _is_current(self):
        """Return whether the companion still has its name."""
        try:
            found = os.stat(self._path + OWNER)
        except OSError:
            return False
        mine = os.fstat(self._descriptor)
        return (found.st_ino, found.st_dev) == (mine.st_ino, mine.st_dev)

    def sign(self):
        """Name this process as the owner; harmless if there is no companion."""
        self._is_signed = True
        self._write(" ".join(_me()))

    def add_to(self, descriptors):
        """Have some Descriptors notice when the companion's is closed."""
        if self._descriptor is not None:
            descriptors.add(self._descriptor)

    def release(self):
        """Give the outbox up; harmless when repeated."""
        if self._descriptor is not None and self._own.are_ours():
            if self._is_signed:
                self._write("")
            try:
                # Forked children have copies of the descriptor, so closing it is not enough.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except EnvironmentError:
                pass
        self._close()

    def abandon(self):
        """In a forked child: close its copy of the descriptor, and leave the rest to the owner."""
        self._close()

    def _write(self, text):
        if self._descriptor is None:
            return
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, text.ljust(_LONGEST).encode("ascii", "replace"))
        except OSError:
            pass  # then only the lock tells

    def _close(self):
        descriptor, self._descriptor = self._descriptor, None
        # Another part of the process may have closed it, and opened a file of its own since.
        if descriptor is not None and self._own.are_ours():
            os.close(descriptor)


def has_owner(path, ours=None):
    """Return whether an outbox has an owner; None if its companion does not tell, or is missing.

    :param ours: what to return if it names this process, which may have closed it meanwhile.
    """
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path + OWNER, os.O_RDONLY)
    except OSError:
        return None
    try:
        owner, verdict = _judged(descriptor)
        if verdict is not UNKNOWN:
            return {LIVES: True, DEAD: False, OURS: ours}[verdict]
        if not _lock(descriptor, fcntl.LOCK_SH):
            return True
        # Closing it is not enough: a child forked just now has a copy.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        # An older datacat, which signs no companion, may have the outbox.
        return None if owner is None else False
    except EnvironmentError:
        return None
    finally:
        os.close(descriptor)


def _judged(descriptor):
    """Return (the Owner that an open companion names, what that tells)."""
    owner = _named(os.read(descriptor, _LONGEST))
    return owner, judge(owner, _me(), None if owner is None else _start(owner.process))


def _open(path):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _FILE_MODE)
    try:
        # Python 2.7 would give it to every program that the application starts.
        fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, _FILE_MODE)
    except EnvironmentError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor, how=None):
    """Lock a descriptor's file; return False if somebody else has it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if how is None else how) | fcntl.LOCK_NB)
        return True
    except EnvironmentError as error:
        if error.errno in HELD:
            return False
        raise


def _named(content):
    words = str(content.decode("ascii", "replace")).strip("\0 \n").split(" ")
    return Owner(*words) if len(words) == len(Owner._fields) else None


def _me():
    process = str(os.getpid())
    return Owner(process, _start(process) or "", _compat.boot_identity(), _namespace())


def _start(process):
    """Return what marks the start of a process's program; None if it is dead, "" if unknown.

    The source is /proc/<process>/stat (proc(5)): field 22, when the process started, and field 28,
    where its stack begins, which differs after exec.  A dead process that nobody has reaped is
    still there (field 3), and so is a living one whose first thread has ended.
    """
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""  # the /proc of another namespace
        descriptor = os.open("/proc/%s/stat" % process, os.O_RDONLY)
    except OSError as error:
        return None if error.errno == errno.ENOENT and os.path.exists("/proc/self") else ""
    try:
        # The second field, the program's name in brackets, may contain anything.
        fields = os.read(descriptor, 4096).decode("ascii", "replace").rpartition(u")")[2].split()
        if fields[0] in _ENDED and len(os.listdir("/proc/%s/task" % process)) == 1:
            return None
        return str("%s.%s" % (fields[19], fields[25]))
    except (OSError, IndexError):
        return None
    finally:
        os.close(descriptor)


def _are_same(one, other):
    """Return whether two starts are the same, as far as they tell."""
    times, stacks = zip(one.split("."), other.split("."))
    # The system shows 0 to whom it hides the stack from.
    return times[0] == times[1] and (stacks[0] == stacks[1] or "0" in stacks)


def _namespace():
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
