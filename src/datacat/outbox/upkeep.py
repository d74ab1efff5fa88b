"""What keeps an outbox's file healthy: healing, moving, syncing, shrinking, making room.

Belongs here: the order of these, and holding the lock for each no longer than a log call may wait.
Does not: how a disk is healed, or what is sacrificed (see `healing` and `room`); when to do it,
which the keeper decides.
"""

from __future__ import absolute_import, division

import errno
import os

from .. import errors
from .._compat import monotonic
from ..descriptors import opened
from . import bounds, folder, healing
from .disk import HEALTHY
from .intake import with_lock
from .refusals import SpoolUnusable

HEAL_SECONDS = 1.0
CHECKPOINT_BYTES = 4 * 1024 * 1024
# As many small records fill as much of a log that is written over from its start.
CHECKPOINT_CHANGES = 2000
SHRINK_BYTES = 1024 * 1024
# A log that is written over is kept, because growing one takes time; but not a larger one.
KEPT_LOG_BYTES = CHECKPOINT_BYTES + SHRINK_BYTES
_CHECK_EVERY = 64
_FREED_AT_ONCE = 500


class Upkeep(object):
    """Looks after one outbox.

    Its methods take the lock themselves, except those that say that the caller has it.  `sync` is
    for one thread, the keeper's.

    :param intake: the Intake, whose lock is taken.
    :param disk: the Disk.
    :param heads: the Heads, which must read everything anew when the file has changed.
    :param room: the Room.
    :param entries: a callable that returns the sessions' entries, oldest first.
    :param warn: a callable (topic, message).
    """

    def __init__(self, intake, disk, heads, room, entries, warn):
        self.intake = intake
        self._disk = disk
        self._heads = heads
        self._room = room
        self._entries = entries
        self._warn = warn
        self._healed_at = 0.0
        # At the last checkpoint.
        self._log_bytes = self._changed = 0
        # A new file is synced twice.
        self._sync_seconds = disk.store.opening_seconds / 2

    def measure(self):
        """Measure how much room the spool and the disk leave, and keep within it."""
        if self._disk.has_file and not self.intake.closed:
            # Without the lock: there may be hundreds of other outboxes.
            self._room.measure_spool()
            self.intake.run(self._disk.measure)
            while self._make_room():
                pass

    @with_lock
    def _make_room(self):
        return not self.intake.closed and self._room.make()

    def heal(self, replace):
        """Bring a disk that refuses back to health, step by step; return whether it is healthy.

        :param replace: a callable (store) -> a new Store in place of one that is damaged, deleted
            or a NoStore.
        """
        while self._heal(replace):
            pass
        return self._disk.state is HEALTHY

    @with_lock
    def _heal(self, replace):
        """Take a step towards health; return whether it made progress."""
        if self.intake.closed or self._disk.state is HEALTHY:
            return False
        # A step a lock: log calls get their turn between two.
        before = self._disk.memory.bytes, self._disk.state
        self._heal_a_step(replace)
        return before != (self._disk.memory.bytes, self._disk.state)

    def _heal_a_step(self, replace):
        self._healed_at = monotonic()
        path = self._disk.path
        try:
            healing.heal(self._disk, self._entries(), replace)
        finally:
            if self._disk.path != path:
                self._heads.forget_all()

    def rescue(self, replace):
        """Move into a new file if somebody deleted or replaced the open one."""
        if self._is_file_gone():
            self.heal(replace)

    @with_lock
    def _is_file_gone(self):
        return not (self.intake.closed or self._disk.is_still_there())

    @property
    def closing_seconds(self):
        """How long closing the file may take: sqlite syncs the log, the file and its folder."""
        return 3 * self._sync_seconds

    def sync(self):
        """Make what was appended survive a power cut, without holding up log calls."""
        if not self._disk.has_file:
            self._disk.synced = self._disk.changed
            return
        began = monotonic()
        log_bytes = self._sync_log()
        self._sync_seconds = monotonic() - began
        if self._is_log_full(log_bytes):
            self._checkpoint(log_bytes)

    def sync_before_going_on(self):
        """Sync what was written until now; for any thread, without the lock.

        It changes nothing for `sync`, which does the same and more.
        """
        try:
            _sync_file(self._disk.path + "-wal")
        except OSError:
            pass  # the keeper's next sync tells

    def _sync_log(self):
        """Sync the write-ahead log; return its size.

        It is opened anew, without the lock.  That is safe for the log, but not for the database
        file: closing any descriptor of that drops sqlite's lock (fcntl(2), advisory record
        locking).
        """
        disk = self._disk
        # Noted before the sync: what is written during it may not be covered.
        before, disk.synced = disk.synced, disk.changed
        try:
            size = _sync_file(disk.path + "-wal")
            self._warn.clear("sync")
            return size
        except OSError as error:
            if error.errno != errno.ENOENT:
                disk.synced = before
                self._warn(
                    "sync",
                    "cannot sync %s-wal: %s; a power cut may lose what was logged since the last "
                    "sync" % (disk.path, error),
                )
            return 0

    def _is_log_full(self, log_bytes):
        """Return whether a checkpoint is due; the size alone does not tell (`Store.restart_log`).

        :param log_bytes: the size of the log's file.
        """
        changes = self._disk.changed - self._changed
        is_grown = log_bytes > max(self._log_bytes, CHECKPOINT_BYTES)
        return is_grown or (log_bytes > CHECKPOINT_BYTES and changes >= CHECKPOINT_CHANGES)

    @with_lock
    def _checkpoint(self, log_bytes):
        if not self.intake.closed:
            self._move_log(log_bytes)

    def _move_log(self, log_bytes):
        disk = self._disk
        # A log that has become too large is returned to the disk.
        is_large = log_bytes > 2 * CHECKPOINT_BYTES
        disk.attempt(disk.store.checkpoint if is_large else disk.store.restart_log)
        self._log_bytes = 0 if is_large else log_bytes
        self._changed = disk.changed

    def shrink(self):
        """Return what a large file or log does not need to the disk once all is drained."""
        while self._shrink_a_little():
            pass

    @with_lock
    def _shrink_a_little(self):
        """Return some of what a large file does not need to the disk; return whether more is left.

        Not all at once: a log call would wait for seconds, after a million records.
        """
        disk = self._disk
        waiting = any(entry.waiting > 0 for entry in self._entries())
        if waiting or self.intake.closed or not self._is_large():
            return False
        try:
            if disk.store.shrink(_FREED_AT_ONCE):
                return True
            disk.store.checkpoint()
        except errors.DatacatError:
            pass
        return False

    def _is_large(self):
        path = self._disk.path
        return (
            bounds.size_of(path) > SHRINK_BYTES or bounds.size_of(path + "-wal") > KEPT_LOG_BYTES
        )

    def forget_old_letters(self, now):
        """Delete dead letters that are too old or too many; the caller has the lock.

        :param now: microseconds since the epoch.
        """
        oldest = now - bounds.DEAD_SECONDS * 1000000
        self._disk.attempt(self._disk.store.forget_dead, oldest, bounds.DEAD_BYTES)

    @with_lock
    def forget_all_letters(self):
        """Delete all dead letters."""
        self._disk.attempt(self._disk.store.forget_dead, 0, 0)

    def after_settling(self):
        """Heal or checkpoint, if due, while records are delivered; the caller has the lock."""
        disk = self._disk
        if disk.state is not HEALTHY and monotonic() - self._healed_at > HEAL_SECONDS:
            self._heal_a_step(None)
        elif disk.changed % _CHECK_EVERY == 0:
            log_bytes = bounds.size_of(disk.path + "-wal")
            if self._is_log_full(log_bytes):
                self._move_log(log_bytes)

    def before_closing(self):
        """Write as much as the disk takes; the caller has the lock."""
        memory = self._disk.memory
        while self._disk.state is not HEALTHY:
            before = memory.bytes
            self._heal_a_step(None)
            if memory.bytes >= before:
                break


def _sync_file(path):
    try:
        return _synced_size(path)
    except OSError as error:
        if error.errno != errno.EACCES:
            raise
    try:
        # Somebody changed the folder's mode.
        folder.prepare(os.path.dirname(path))
    except SpoolUnusable:
        pass  # the next attempt tells why
    return _synced_size(path)


def _synced_size(path):
    # A sync takes long enough for another part of the process to close it meanwhile.
    with opened(path, os.O_RDWR) as descriptor:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
