"""The outboxes of one folder: who may have which, and what happens to a damaged one.

1. A file's name contains its scope (server and product), its machine, its identity and, if a
   forked child made it, its parent's identity.  Nothing else is needed to decide who may have it.
   A machine's outboxes are opened by other machines only where those cannot have them at the same
   time: on a local file system.
2. Whoever opens a file locks its companion and then, by sqlite, the file itself, until it is
   closed or the process ends (see `ownership`).  So a file that can be opened is free, and one
   that is locked has a living owner.
3. Between listing the folder and opening a file, another process may open or delete it.  That is
   noticed after opening: by the locks, and by the inode that the name has then.
4. A file that sqlite finds damaged is read once more, because a failing disk looks the same.  If
   it is damaged, it is replaced (see `replacing`).
5. What other processes left is opened one file at a time, with the lock that a fork waits for, and
   that is released in between.

Belongs here: the order of these steps.  Does not: names (see `names`), permissions (see `folder`),
SQL, records, threads.
"""

from __future__ import absolute_import, division

import contextlib
import functools
import os
import time

from .. import errors, locks
from . import bounds, file_systems, learned, names, quarantine, replacing, stacks, strangers
from .file_locks import PROBE, can_lock
from .folder import (
    FILE_MODE,
    create_private_file,
    default_folder,
    inode_of_own,
    prepare,
    read_through,
    remove_older,
)
from .names import parent_of
from .ownership import OWNER, has_owner
from .refusals import SpoolUnusable, StoreDamaged, StoreHeld, StoreTooNew
from .shared import END_KEPT_SECONDS, SHARED, remove_stale_marks
from .store import Store, remove_files

_MAKING_SECONDS = 10.0
# To make a new file, which another process may take at once.
_ATTEMPTS = 20
# What may lie beside an outbox that is gone.
_LEFTOVERS = (SHARED, replacing.REPLACEMENT, bounds.RESERVE, OWNER, PROBE)
_ONE_PROOF = (
    "cannot lock the files beside the outboxes in %s (%s): if this program reads that folder "
    "(zip, backup), another may take its outbox; pass spool_dir= with a folder on a local disk"
)


class Spool(object):
    """The outboxes of one scope in one folder.

    :param folder: the path, or None for the default one.
    :param scope: a Scope; only its files are touched.
    :param power_safe: whether every commit reaches the disk before it returns.
    :param warn: a callable (topic, message).
    """

    def __init__(self, folder, scope, power_safe, warn):
        self.folder = folder or default_folder()
        self._scope = scope
        self._power_safe = power_safe
        self._warn = warn
        self._newer = set()
        self._is_known_as_local = None
        self.lock = locks.RLock()

    def claim(self):
        """Return the store of a free outbox of this scope, or else of a new one."""
        prepare(self.folder)
        for path in self.paths():
            # One with an old name, which only this host's name finds, is drained, not continued.
            is_drained = names.machine_of(path) is None
            store = None if is_drained else self.open_if_free(path)
            if store is not None:
                return store
        return self.create()

    def create(self, parent=None, announce=None):
        """Return the store of a new outbox.

        :param parent: the identity of the outbox of the process that this one was forked from.
        :param announce: called with its path before the file is made.
        """
        prepare(self.folder)
        for _ in range(_ATTEMPTS):
            path = os.path.join(self.folder, names.new_name(self._scope, parent))
            try:
                if announce is not None:
                    announce(path)
                create_private_file(path)
                return self._opened(path)
            except StoreHeld:
                # Another process found the new file free and took it; or nobody can lock it.
                if can_lock(path):
                    continue
                remove_files(path)
                break
            except (OSError, errors.DatacatError) as error:
                remove_files(path)
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
        prepare(self.folder)
        return (self._open_if_free(path) if os.path.exists(path) else None) or self.claim()

    def candidates(self, mine):
        """Return the paths of this scope's outboxes that may be free, and remove what is too old.

        :param mine: paths of the outboxes that this process has open.
        :raises SpoolUnusable: if the folder cannot be used.
        """
        prepare(self.folder)
        self._remove_what_is_too_old()
        return [path for path in self.paths() if path not in mine and not has_owner(path)]

    def tidy(self):
        """Remove what is too old, and warn of what nobody here sends; opens no outbox."""
        self._remove_what_is_too_old()
        self.report_what_is_left_alone()

    def _remove_what_is_too_old(self):
        remove_stale_marks(self.folder, _LEFTOVERS)
        quarantine.prune(self.folder, self._scope.key, time.time())
        remove_older(self.folder, names.is_learned, learned.BELIEVED_SECONDS, time.time())
        remove_older(self.folder, names.is_end, END_KEPT_SECONDS, time.time())
        stacks.remove_old(self.folder, time.time())

    def report_what_is_left_alone(self):
        """Warn, once, of outboxes that nobody here sends."""
        now = time.time()
        found = strangers.find(self._outboxes(), self._scope, self._is_local(), self._newer, now)
        if found:
            self._warn("left alone", strangers.complaint(found, self.folder, now))

    def open_if_free(self, path):
        """Return the store of an outbox that has no living owner; None if it has, or is gone."""
        if _is_being_made(path):
            return None
        return self._open_if_free(path)

    def has_living_heir(self, identity, mine):
        """Return whether an outbox with a living owner names this one's as its parent.

        :param mine: paths of the outboxes that this process has open, which are no heirs.
        """
        heirs = [path for path in self.paths() if parent_of(path) == identity]
        return any(path not in mine and self._is_owned(path) for path in heirs)

    def _is_owned(self, path):
        known = has_owner(path)
        if known is not None:
            return known
        # It has no companion: only opening it tells.
        store = self.open_if_free(path)
        if store is not None:
            store.close()
        return store is None and os.path.exists(path)

    @contextlib.contextmanager
    def adopting(self):
        """Hold the lock that a fork waits for, while another process's outbox is opened."""
        with self.lock:
            yield

    def _open_if_free(self, path):
        try:
            inode = inode_of_own(path)
            store = self._opened(path)
            if _is_ours(store, inode):
                bounds.Reserve(path).free()
                return store
        except (StoreHeld, SpoolUnusable):
            return None
        except StoreTooNew as error:
            self._newer.add(path)
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
            read_through(path)
            store = self._opened(path)
            return store if _is_ours(store, inode_of_own(path)) else None
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

    def _opened(self, path):
        store = Store(path, self._power_safe)
        if store.ownership.missing is not None:
            self._warn("owner", _ONE_PROOF % (self.folder, store.ownership.missing))
        return store

    def paths(self):
        """Return the paths of all outboxes of this scope, whoever has them."""
        any_machine = self._is_local()
        return [path for path in self._outboxes() if names.is_of(path, self._scope, any_machine)]

    def _is_local(self):
        if self._is_known_as_local is None:
            self._is_known_as_local = file_systems.is_local(self.folder)
        return self._is_known_as_local

    def _outboxes(self):
        """Return the paths of all outboxes in the folder but those that do not count yet."""
        try:
            found = sorted(os.listdir(self.folder))
        except OSError:
            return []
        unfinished = replacing.unfinished(self.folder, found)
        paths = [os.path.join(self.folder, name) for name in found if name not in unfinished]
        return [path for path in paths if names.is_outbox(path)]


def _is_being_made(path):
    """Return whether another process seems to have just created a file and not yet opened it."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size == 0 and abs(time.time() - found.st_mtime) < _MAKING_SECONDS


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
