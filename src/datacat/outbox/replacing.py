"""Replacing an outbox that is damaged or gone, so that its records count in one file at any time.

1. What can be read goes into a new file.  Before that is made, its name is noted beside the old
   file, as `-replacement`.  As long as the old file is there, the noted one does not count: nobody
   opens it, and whoever opens the old one removes it.
2. Then the old file is renamed to `.corrupt-<time>`.  From this moment on the new one counts.
3. So an attempt may end anywhere, by an error, an interruption or a kill: the next one removes
   what the note names, and begins anew.
4. That also holds after the renaming, because the old file stays open until its owner uses the new
   one.  Where open files cannot be renamed, it is closed before, and opened again if the renaming
   fails.  If it is closed and gone, the note names its replacement.

Belongs here: these steps.  Does not: how a new file is made (see `spool`), which rows are believed
(see `salvage`), what becomes of a replaced store (see `healing`).
"""

from __future__ import absolute_import, division

import functools
import os
import time

from .. import errors
from .._compat import CAN_UNLINK_OPEN_FILES
from .bounds import RESERVE
from .refusals import SpoolUnusable
from .shared import is_marked_shared, mark_shared
from .store import Store, remove_files

REPLACEMENT = "-replacement"
# Scanners and backups hold a file for a moment only.
_ATTEMPTS = 5
_PAUSE = 0.02
_LONGEST_NAME = 1000


def replace(store, create, warn):
    """Return a new store in place of another, with what can still be read of that one.

    The caller discards the old one when it uses the new one.

    :param store: one that is damaged or was deleted.
    :param create: a callable (announce) -> a new Store; calls `announce(path)` before it makes it.
    :param warn: a callable (topic, message).
    :raises DatacatError: if that cannot be done now.  The old store can be used as before.
    """
    path = store.path
    if store.is_closed:
        noted = _noted(path)
        if noted is not None and not os.path.exists(path):
            return Store(noted, store.power_safe)
        store.open_as_it_is()
    remove_unfinished(path)
    salvaged = store.salvage()
    _remove(path + RESERVE)
    fresh = create(functools.partial(_note, path))
    try:
        fresh.refill(salvaged)
        if is_marked_shared(path):
            mark_shared(fresh.path)
        kept = _move_aside(store)
    except errors.DatacatError:
        fresh.delete()
        raise
    if kept is not None:
        warn(
            "damaged",
            "the outbox %s was damaged or replaced: the %d records that could be read are now in "
            "%s, and the file is kept as %s" % (path, len(salvaged[2]), fresh.path, kept),
        )
    return fresh


def discard(store):
    """Close a store that was replaced, and remove what is left beside its file."""
    store.close()
    if not store.is_in_memory:
        _remove(store.path + REPLACEMENT)
        if not os.path.exists(store.path):
            remove_files(store.path)


def unfinished(folder, names):
    """Return which of a folder's names are replacements that do not count (see 1)."""
    noting = [name[: -len(REPLACEMENT)] for name in names if name.endswith(REPLACEMENT)]
    noted = [_noted(os.path.join(folder, name)) for name in noting if name in names]
    return set(os.path.basename(path) for path in noted if path)


def remove_unfinished(path):
    """Remove what an attempt to replace the outbox at `path` left, if there was one."""
    noted = _noted(path)
    if noted is not None:
        remove_files(noted)
        if os.path.exists(noted):
            raise SpoolUnusable("cannot remove %s, a copy of the outbox %s" % (noted, path))
    _remove(path + REPLACEMENT)


def _note(path, fresh_path):
    descriptor = os.open(path + REPLACEMENT, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, os.path.basename(fresh_path).encode("ascii"))
    finally:
        os.close(descriptor)


def _noted(path):
    """Return the path that is noted as the replacement of an outbox, or None."""
    try:
        descriptor = os.open(path + REPLACEMENT, os.O_RDONLY)
        try:
            name = os.read(descriptor, _LONGEST_NAME)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    name = str(name.decode("ascii", "replace"))
    return os.path.join(os.path.dirname(path), name) if name else None


def _move_aside(store):
    """Rename a store's file; return its new name, or None if the file is gone."""
    path = store.path
    if not os.path.exists(path):
        return None
    kept = "%s.corrupt-%d" % (path, time.time())
    if not CAN_UNLINK_OPEN_FILES:
        store.close()
    try:
        _rename(path, kept)
    except OSError as error:
        if store.is_closed:
            store.open_as_it_is()
        raise SpoolUnusable(
            "cannot rename the damaged outbox %s: %s; until that works, records wait in memory; "
            "close the program that uses the file, such as a virus scanner" % (path, error)
        )
    try:
        _rename(path + "-wal", kept + "-wal")
    except OSError:
        pass  # closing the store has removed it, or will
    return kept


def _rename(source, target):
    for attempt in range(_ATTEMPTS):
        try:
            return os.rename(source, target)
        except OSError:
            if attempt == _ATTEMPTS - 1 or not os.path.exists(source):
                raise
            time.sleep(_PAUSE)


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass
