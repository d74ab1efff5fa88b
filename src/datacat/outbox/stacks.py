"""What faulthandler writes when a process crashes: a file for each process that wants it.

The file lies beside the outbox, and its name tells the session and the process.  It is empty until
the crash.  Whoever reports the crash removes it, and so does the process itself if it ends without
one.

Belongs here: making, finding, reading and removing these files.  Does not: names (see `names`),
faulthandler, and what is told of a crash.
"""

from __future__ import absolute_import, division

import collections
import errno
import os

try:
    import fcntl
except ImportError:
    fcntl = None

from ..descriptors import opened, out_of_the_way
from ..records.cutting import cut
from . import folder, names
from .file_locks import HELD
from .refusals import SpoolUnusable

KEPT_SECONDS = 30 * 86400
# With a hundred threads of a hundred frames each, as many as faulthandler writes, it may be more.
LONGEST = 64 * 1024
_MOST_BYTES = 1024 * 1024
_CURRENT = u"Current thread "

# error: its first line; stacks: the whole, with the thread that crashed first.
Dump = collections.namedtuple("Dump", "error stacks")


def create(path):
    """Make an empty file to be written to at a crash; return its descriptor.

    It is locked, so that nobody takes it for one of a dead process.

    :raises EnvironmentError: if that is not possible.
    """
    folder.remove(path)
    folder.create_private_file(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        if fcntl is not None:
            _lock(descriptor)
        return out_of_the_way(descriptor)
    except EnvironmentError:
        os.close(descriptor)
        folder.remove(path)
        raise


def left_by(path, process):
    """Return {local id of a session: path} of the files that the dead owner of an outbox left.

    :param path: of the outbox.
    :param process: its owner's process id (str), None if that is unknown.
    """
    where = os.path.dirname(path)
    try:
        found = os.listdir(where)
    except OSError:
        return {}
    sessions = [(names.session_of_stacks(name, path, process), name) for name in found]
    return dict((session, os.path.join(where, name)) for session, name in sessions if session)


def read(path):
    """Return the Dump in a file; None if there is none, or no file (None)."""
    if path is None:
        return None
    try:
        folder.inode_of_own(path)
        with opened(path, os.O_RDONLY) as descriptor:
            text = os.read(descriptor, _MOST_BYTES).decode("ascii", "replace").strip()
    except (EnvironmentError, SpoolUnusable):
        return None
    return parsed(text) if text else None


def parsed(text):
    """Return the Dump that a text is, cut to LONGEST with a marker."""
    blocks = text.split(u"\n\n")
    # Otherwise it may be anywhere among the others, and be cut.
    blocks[1:] = sorted(blocks[1:], key=lambda block: not block.startswith(_CURRENT))
    return Dump(cut(text.split(u"\n")[0], LONGEST), cut(u"\n\n".join(blocks), LONGEST))


def remove(path):
    """Remove a file; harmless if there is none (None), or it is gone."""
    if path is not None:
        folder.remove(path)


def remove_old(where, now):
    """Remove the files in a folder that nobody reported in 30 days, but for those in use.

    :param now: seconds since the epoch.
    """

    def is_left(name):
        return names.is_stacks(name) and not _is_in_use(os.path.join(where, name))

    folder.remove_older(where, is_left, KEPT_SECONDS, now)


def _is_in_use(path):
    # Where files cannot be locked, the system does not remove one that is open.
    if fcntl is None:
        return False
    try:
        folder.inode_of_own(path)
        with opened(path, os.O_RDONLY) as descriptor:
            return not _lock(descriptor)
    except (EnvironmentError, SpoolUnusable):
        return False


def _lock(descriptor):
    """Lock a descriptor's file; return False if another descriptor has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except EnvironmentError as error:
        return error.errno not in HELD + (errno.EWOULDBLOCK,)
    return True
