"""The marks that a forked child leaves beside its parent's outbox, which it must not open.

A classic server keeps no identity of a record, so arrival is inferred by counting.  If a child
writes into its parent's session as well, counting proves nothing.  The mark has the server's id of
each such session, one a line: when a child makes it, another process may have continued the
outbox, with sessions that the child does not know.

If a child ends its parent's session, as a daemon does, and the parent exits without a goodbye,
the parent's outbox would tell of a crash.

Belongs here: making and finding the marks.  Does not: what they lead to.
"""

from __future__ import absolute_import, division

import io
import json
import os
import time

from .names import end_of, outbox_of
from .no_store import IN_MEMORY

SHARED = "-shared"
_FILE_MODE = 0o600
_STALE_SECONDS = 24 * 3600
END_KEPT_SECONDS = 30 * 86400


def mark_shared(path, server_id):
    """Leave the mark beside an outbox: another process writes into one of its sessions too.

    :returns: whether it is there; not if the outbox has no file, or the disk is full.
    """
    # It begins with a line break, because the one before may be torn.
    return path != IN_MEMORY and _append(path + SHARED, b"\n" + _line(server_id) + b"\n")


def mark_ended(path, local_id):
    """Leave the mark that a session has ended, whoever opened it.

    :param path: of an outbox in the same folder, of the same scope.
    """
    mark = end_of(path, local_id)
    if mark is not None:
        _append(mark, b"")


def is_marked_ended(path, local_id):
    """Return whether a session has ended, although its entry in an outbox does not say so."""
    mark = end_of(path, local_id)
    return mark is not None and os.path.exists(mark)


def is_marked_shared(path, server_id):
    """Return whether the mark beside an outbox names a session.

    Also if it names none, as those of datacat 0.2, or cannot be read.
    """
    if path == IN_MEMORY or not os.path.exists(path + SHARED):
        return False
    content = _content(path + SHARED)
    return not content or _line(server_id) in content.split(b"\n")


def copy_marks(path, other):
    """Leave the mark beside an outbox that is also beside another, harmless if there is none.

    :param other: the path of the one without.
    """
    if path != IN_MEMORY and os.path.exists(path + SHARED):
        _append(other + SHARED, _content(path + SHARED))


def _line(server_id):
    return json.dumps(server_id).encode("ascii")


def _content(path):
    """Return what is in a mark, nothing if it cannot be read."""
    try:
        with io.open(path, "rb") as stream:
            return stream.read()
    except EnvironmentError:
        return b""


def _append(path, content):
    """Append to a file, and make it if there is none; return whether that worked."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, _FILE_MODE)
        try:
            return os.write(descriptor, content) == len(content)
        finally:
            os.close(descriptor)
    except OSError:
        return False


def remove_stale_marks(folder, endings=(SHARED,)):
    """Remove the marks beside outboxes that are gone: a child may outlive its parent.

    Not at once: an outbox that was deleted under its owner still has one.

    :param endings: of the marks' names, a tuple.
    """
    try:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            ending = next((each for each in endings if name.endswith(each)), None)
            if ending is None or outbox_of(path) != path[: -len(ending)]:
                continue
            if not os.path.exists(path[: -len(ending)]):
                if time.time() - os.stat(path).st_mtime > _STALE_SECONDS:
                    os.remove(path)
    except OSError:
        pass
