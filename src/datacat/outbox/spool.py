"""The folder of outboxes: who may have which file, and what happens to a damaged one.

1. A file's name contains its scope, its identity and, if a forked child made it, its parent's
   identity.  Nothing else is needed to decide who may have it.
2. Whoever opens a file holds sqlite's exclusive lock on it until it is closed or the process ends.
   So a file that can be opened is free, and one that is locked has a living owner.
3. Between listing the folder and opening a file, another process may open or delete it.  That is
   noticed after opening: by the lock, and by the inode that the name has then.
4. A file that sqlite finds damaged is read once more, because a failing disk looks the same.  If
   it is damaged, it is replaced (see `replacing`).

Belongs here: file names, permissions, and the order of these steps.  Does not: SQL, records,
threads.
"""

from __future__ import absolute_import, division

import contextlib
import errno
import functools
import os
import re
import stat
import time
import uuid

import platformdirs

from .. import errors, locks
from . import replacing
from .file_locks import can_lock
from .refusals import SpoolUnusable, StoreDamaged, StoreHeld, StoreTooNew
from .shared import SHARED, remove_stale_marks
from .store import Store

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_READ_AT_ONCE = 1024 * 1024
_MAKING_SECONDS = 10.0
# To make a new file, which another process may take at once.
_ATTEMPTS = 20
_NAME = re.compile(
    r"^(?P<scope>[0-9a-f]{12})-(?P<identity>[0-9a-f]{12})" r"(-(?P<parent>[0-9a-f]{12}))?\.outbox$"
)
_NAME_BEGINS = re.compile(r"^[0-9a-f]{12}-[0-9a-f]{12}(-[0-9a-f]{12})?\.outbox")


def default_folder():
    """Return the default folder, in the user's state folder; None if the user has no home."""
    try:
        folder = platformdirs.user_state_dir("datacat", appauthor=False)
    except RuntimeError:
        return None
    # Without a home, `~` stays in it.
    return os.path.join(folder, "spool") if os.path.isabs(folder) else None


class Spool(object):
    """The outboxes of one scope in one folder.

    :param folder: the path, or None for the default one.
    :param scope: 12 hexadecimal characters; only files of this scope are touched.
    :param power_safe: whether every commit reaches the disk before it returns.
    :param warn: a callable (topic, message).
    """

    def __init__(self, folder, scope, power_safe, warn):
        self.folder = folder or default_folder()
        self._scope = scope
        self._power_safe = power_safe
        self._warn = warn
        self.lock = locks.RLock()

    def claim(self):
        """Return the store of a free outbox of this scope, or else of a new one."""
        self._prepare_folder()
        for store in self._free_stores(held=()):
            return store
        return self.create()

    def create(self, parent=None, announce=None):
        """Return the store of a new outbox.

        :param parent: the identity of the outbox of the process that this one was forked from.
        :param announce: called with its path before the file is made.
        """
        self._prepare_folder()
        for _ in range(_ATTEMPTS):
            name = "%s-%s%s.outbox" % (
                self._scope,
                uuid.uuid4().hex[:12],
                "-" + parent if parent else "",
            )
            path = os.path.join(self.folder, name)
            try:
                if announce is not None:
                    announce(path)
                _create_private_file(path)
                return Store(path, self._power_safe)
            except StoreHeld:
                # Another process found the new file free and took it; or nobody can lock it.
                if can_lock(path):
                    continue
                _remove(path)
                break
            except (OSError, errors.DatacatError) as error:
                _remove(path)
                raise SpoolUnusable(
                    "cannot make an outbox in %s: %s; make the folder writable or pass spool_dir="
                    % (self.folder, error)
                )
        raise SpoolUnusable(
            "the files in %s cannot be locked (a network file system without locks?); pass "
            "spool_dir= with a folder on a local disk" % self.folder
        )

    def reopen(self, path):
        """Return the store of an outbox that this process closed, or claim another."""
        self._prepare_folder()
        return (self._open_if_free(path) if os.path.exists(path) else None) or self.claim()

    def survey(self, mine):
        """Open every free outbox of this scope; return (stores, parents with living heirs).

        :param mine: paths of the outboxes that this process has open.
        :returns: the stores, and the identities that outboxes with a living owner name as their
            parent.  Both are empty if the folder cannot be used.
        """
        try:
            self._prepare_folder()
        except SpoolUnusable:
            return [], set()
        remove_stale_marks(self.folder, (SHARED, replacing.REPLACEMENT))
        free = list(self._free_stores(mine))
        taken = set(store.path for store in free).union(mine)
        return free, set(
            parent_of(path) for path in self._paths() if path not in taken and parent_of(path)
        )

    @contextlib.contextmanager
    def adopting(self):
        """Hold the lock that a fork waits for, while other processes' outboxes are opened."""
        with self.lock:
            yield

    def _free_stores(self, held):
        for path in self._paths():
            if path in held or _is_being_made(path):
                continue
            store = self._open_if_free(path)
            if store is not None:
                yield store

    def _open_if_free(self, path):
        try:
            inode = _refuse_foreign(path)
            store = Store(path, self._power_safe)
            if _is_ours(store, inode):
                return store
        except (StoreHeld, SpoolUnusable):
            return None
        except StoreTooNew as error:
            self._warn("too new", str(error))
        except StoreDamaged:
            return self._judge_again(path, inode)
        except errors.DatacatError as error:
            self._warn("unreadable", str(error))
        return None

    def _judge_again(self, path, inode):
        """Return the store of a file that sqlite called damaged, replaced if it really is.

        After a read error in the write-ahead log, sqlite uses the part before it and calls the
        whole malformed.  A disk that fails for a while must not cost the outbox.
        """
        try:
            _read_through(path)
            store = Store(path, self._power_safe)
            return store if _is_ours(store, os.lstat(path).st_ino) else None
        except StoreDamaged:
            return self._replace_damaged(path)
        except StoreHeld:
            return None
        except (EnvironmentError, errors.DatacatError) as error:
            self._warn("unreadable", "cannot read the outbox %s: %s" % (path, error))
            return None

    def _replace_damaged(self, path):
        try:
            damaged = Store(path, as_it_is=True)
        except errors.DatacatError:
            return None
        try:
            fresh = self.replacement(damaged)
        except errors.DatacatError:
            damaged.close()
            return None
        replacing.discard(damaged)
        return fresh

    def replacement(self, store):
        """Return a new store in place of another, with what can still be read of that one.

        A damaged file is kept beside it as `.corrupt-<time>`.  The caller discards the old one
        when it uses the new one (see `replacing`).

        :param store: one that is damaged, was deleted, or is a NoStore.
        :raises DatacatError: if that cannot be done now.
        """
        if store.is_in_memory:
            return self.create()
        create = functools.partial(self.create, parent_of(store.path))
        try:
            fresh = replacing.replace(store, create, self._warn)
        except errors.DatacatError as error:
            self._warn("replacing", str(error))
            raise
        self._warn.clear("replacing")
        return fresh

    def _paths(self):
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return []
        unfinished = replacing.unfinished(self.folder, names)
        matches = [_NAME.match(name) for name in names if name not in unfinished]
        return [
            os.path.join(self.folder, match.group(0))
            for match in matches
            if match and match.group("scope") == self._scope
        ]

    def _prepare_folder(self):
        if self.folder is None:
            raise SpoolUnusable(
                "this user has no home directory; pass spool_dir= or set DATACAT_SPOOL_DIR"
            )
        try:
            if not os.path.isdir(self.folder):
                _make_folder(os.path.abspath(self.folder))
            found = os.lstat(self.folder)
        except OSError as error:
            raise SpoolUnusable(
                "cannot make the folder %s: %s; pass spool_dir= or set DATACAT_SPOOL_DIR"
                % (self.folder, error)
            )
        if stat.S_ISLNK(found.st_mode):
            raise SpoolUnusable(
                "the folder %s is a symbolic link; pass the folder itself as spool_dir="
                % self.folder
            )
        _refuse_owner(self.folder, found)
        if os.name == "posix" and stat.S_IMODE(found.st_mode) != FOLDER_MODE:
            self._make_private(stat.S_IMODE(found.st_mode))

    def _make_private(self, mode):
        """Make a folder private if it contains nothing but outboxes.

        One with other files keeps its mode, because others may be meant to read them.  But if
        others may write there, they could replace an outbox.
        """
        if all(_NAME_BEGINS.match(name) for name in os.listdir(self.folder)):
            try:
                os.chmod(self.folder, FOLDER_MODE)
            except OSError as error:
                raise SpoolUnusable(
                    "cannot make the folder %s private: %s; pass a writable folder as spool_dir="
                    % (self.folder, error)
                )
        elif mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SpoolUnusable(
                "the folder %s is writable by other users and contains other files; pass a folder "
                "of its own as spool_dir=" % self.folder
            )


def identity_of(path):
    """Return the identity in an outbox's file name, or None for one in memory."""
    return _part(path, "identity")


def parent_of(path):
    """Return the identity of the parent in an outbox's file name, or None."""
    return _part(path, "parent")


def _part(path, name):
    match = _NAME.match(os.path.basename(path))
    return match.group(name) if match else None


def _make_folder(path):
    """Make a folder and its missing parents, private to this user; survives a power cut."""
    parent = os.path.dirname(path)
    if parent != path and not os.path.isdir(parent):
        _make_folder(parent)
    try:
        os.mkdir(path, FOLDER_MODE)
        os.chmod(path, FOLDER_MODE)
    except OSError as error:
        # Another process that starts at the same time makes it too.
        if error.errno != errno.EEXIST or not os.path.isdir(path):
            raise
    _sync_folder(parent)


def _sync_folder(folder):
    """Make the names in a folder survive a power cut, if the system supports that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _create_private_file(path):
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def _is_being_made(path):
    """Return whether another process seems to have just created a file and not yet opened it."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size == 0 and abs(time.time() - found.st_mtime) < _MAKING_SECONDS


def _read_through(path):
    # Only while this process has no connection to it: closing a file drops sqlite's lock on it.
    for name in (path, path + "-wal"):
        if os.path.exists(name):
            with open(name, "rb") as stream:
                while stream.read(_READ_AT_ONCE):
                    pass


def _refuse_foreign(path):
    try:
        found = os.lstat(path)
    except OSError as error:
        raise SpoolUnusable("cannot read %s: %s" % (path, error))
    if not stat.S_ISREG(found.st_mode):
        raise SpoolUnusable("%s is not a regular file" % path)
    _refuse_owner(path, found)
    return found.st_ino


def _is_ours(store, inode):
    """Return whether an opened store's file is still the one that was listed.

    :raises StoreDamaged: if it is, but is not sound.
    """
    try:
        store.probe()
        os.chmod(store.path, FILE_MODE)
        if store.is_still_there(inode):
            replacing.remove_unfinished(store.path)
            return True
    except OSError:
        pass
    except errors.DatacatError:
        store.close()
        raise
    store.close()
    return False


def _refuse_owner(path, found):
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise SpoolUnusable(
            "%s belongs to another user (uid %d); pass spool_dir=" % (path, found.st_uid)
        )


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass
