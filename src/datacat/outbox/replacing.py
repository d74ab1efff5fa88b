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

5. If another part of the process closed the descriptors, the file is intact, but its lock is gone,
   and sqlite would not open it twice in a process.  So it is locked again, and a copy is read.

Belongs here: these steps.  Does not: how a new file is made (see `spool`), which rows are believed
(see `salvage`), what becomes of a replaced store (see `healing`).
"""

from __future__ import absolute_import, division

import errno
import functools
import os
import time

try:
    import fcntl
except ImportError:
    fcntl = None

from .. import errors
from .._compat import CAN_UNLINK_OPEN_FILES
from . import quarantine
from .bounds import RESERVE
from .folder import remove
from .refusals import SpoolUnusable
from .shared import copy_marks
from .store import Store, remove_files

REPLACEMENT = "-replacement"
# Scanners and backups hold a file for a moment only.
_ATTEMPTS = 5
_PAUSE = 0.02
_LONGEST_NAME = 1000
_COPY = "-copy"
_COPIED_AT_ONCE = 1024 * 1024
# The bytes that sqlite locks (https://www.sqlite.org/src/file/src/os.h, PENDING_BYTE).
_FIRST_LOCKED, _LOCKED = 0x40000000, 512


def replace(store, create, warn):
    """Return a new store in place of another, with what can still be read of that one.

    The caller discards the old one when it uses the new one.

    :param store: one that is damaged, was deleted or is detached.
    :param create: a callable (announce=None) -> a new Store; calls `announce(path)` before that
        is made.
    :param warn: a callable (topic, message).
    :raises DatacatError: if that cannot be done now.  The old store can be used as before.
    """
    if store.is_detached:
        return _replace_detached(store, create)
    path = store.path
    if store.is_closed:
        noted = _noted(path)
        if noted is not None and not os.path.exists(path):
            return Store(noted, store.power_safe)
        store.open_as_it_is()
    fresh, saved, kept = _replace(store, create, store.salvage)
    if kept is not None:
        warn(
            "damaged",
            "the outbox %s was damaged or replaced: the %d records that could be read are now in "
            "%s, and for %d days the file is kept as %s"
            % (path, saved, fresh.path, quarantine.KEPT_DAYS, kept),
        )
    return fresh


def _replace(store, create, salvage):
    """Return (the new store, how many records are in it, what the old file is called now)."""
    path = store.path
    remove_unfinished(path)
    salvaged = salvage()
    remove(path + RESERVE)
    fresh = create(announce=functools.partial(_note, path))
    try:
        refill(fresh, salvaged)
        copy_marks(path, fresh.path)
        kept = _move_aside(store)
    except errors.DatacatError:
        fresh.delete()
        raise
    return fresh, len(salvaged[2]), kept


def _replace_detached(store, create):
    path = store.path
    descriptor = _lock_again(path)
    if descriptor is None:
        return create()
    try:
        return _replace(store, create, lambda: _salvage_copy(path, descriptor))[0]
    finally:
        os.close(descriptor)


def _lock_again(path):
    """Lock a file as sqlite does, and return the descriptor that must stay open.

    None: it is gone, or another process has it and will deliver what is in it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise SpoolUnusable("cannot read the outbox %s: %s" % (path, error))
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKED, _FIRST_LOCKED)
    except EnvironmentError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            os.close(descriptor)
            return None
    return descriptor


def _salvage_copy(path, descriptor):
    """Return what can be read of a copy of an outbox and its write-ahead log.

    :param descriptor: one of the outbox; closing any other one would drop the lock on it.
    """
    copy = path + _COPY
    try:
        remove_files(copy)
        _copy(descriptor, copy)
        if os.path.exists(path + "-wal"):
            log = os.open(path + "-wal", os.O_RDONLY)
            try:
                _copy(log, copy + "-wal")
            finally:
                os.close(log)
        store = Store(copy, as_it_is=True)
        try:
            return store.salvage()
        finally:
            store.close()
    except OSError as error:
        raise SpoolUnusable("cannot copy the outbox %s: %s" % (path, error))
    finally:
        remove_files(copy)


def _copy(descriptor, target):
    written = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        data = os.read(descriptor, _COPIED_AT_ONCE)
        while data:
            while data:
                data = data[os.write(written, data) :]
            data = os.read(descriptor, _COPIED_AT_ONCE)
    finally:
        os.close(written)


def refill(fresh, salvaged):
    """Write what `Store.salvage` returned into a new store."""
    entries, states, intact, letters = salvaged
    fresh.settle_all(entries, states, letters, ())
    fresh.insert_all(intact)


def discard(store):
    """Close a store that was replaced, and remove what is left beside its file."""
    store.close()
    if not store.is_in_memory:
        remove(store.path + REPLACEMENT)
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
    remove(path + REPLACEMENT)
    if os.path.exists(path + _COPY):
        remove_files(path + _COPY)


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
    kept = quarantine.kept_path(path, time.time())
    if not CAN_UNLINK_OPEN_FILES:
        store.close()
    try:
        _rename(path, kept)
    except OSError as error:
        if store.is_closed:
            store.open_as_it_is()
        raise SpoolUnusable(
            "cannot rename the damaged outbox %s: %s; until that works, nothing in it is sent, "
            "and its process, if it runs, keeps new records in memory; "
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
