"""A store that never refuses: what the disk does not take waits in memory and is written later.

What may live here: trouble with the disk (full, failing, slow, the file damaged or deleted) and
its end.  What may not: SQL, locks, numbers, and who may have which file.
"""

from __future__ import absolute_import, division

import collections
import errno
import os
from timeit import default_timer as clock

from .. import errors
from .._compat import monotonic
from . import bounds
from .memory import MemoryQueue
from .store import NumberTaken, StoreDamaged, StoreRefused

# Not much less than what a log call may take, for a starved process looks like a slow disk.
SLOW_SECONDS = 0.2
CALM_SECONDS = 2.0
CHECKPOINT_BYTES = 4 * 1024 * 1024
SHRINK_BYTES = 1024 * 1024
_HEALED_AT_ONCE = 1000
_FREED_AT_ONCE = 500


class Disk(object):
    """The store of one outbox, and what waits until it takes it.

    The caller makes sure that one thread at a time is here, but for `sync`.

    :param store: an open Store; this object closes it.
    :param warn: a callable (topic, message).
    """

    def __init__(self, store, warn):
        self.memory = MemoryQueue()
        self.refusal = None
        self.unsynced = False
        self.is_slow = False
        self.changed = 0
        self._warn = warn
        self._settles_fit = True
        self._slow_at = 0.0
        self._states = {}
        self._letters = collections.deque()
        self._forgotten = set()
        self._move_to(store)

    def _move_to(self, store):
        self.store = store
        self.path = store.path
        # A new file is synced twice.
        self._sync_seconds = store.opening_seconds / 2
        self._reserve = bounds.Reserve(store.path)
        self._inode = None if store.is_in_memory else os.stat(store.path).st_ino
        if self._inode is not None and not bounds.is_disk_nearly_full(store.path):
            self._reserve.keep()

    @property
    def has_file(self):
        """Whether there is a file at all."""
        return self._inode is not None

    # Writing

    def insert(self, record, saved=None):
        """Keep a record and return it as it was kept, which may be under a later number.

        :param saved: its session's entry, where its row is to be saved with it.
        """
        if self.refusal is None:
            began = clock()
            try:
                self.store.insert(record, saved)
            except NumberTaken:
                record = self.insert_all([record])[0]
                if saved is not None:
                    self.save(saved)
                return record
            except errors.DatacatError as error:
                self._refuse(error)
            else:
                self.unsynced = True
                self.changed += 1
            if clock() - began > SLOW_SECONDS:
                self._was_slow()
        if self.refusal is not None:
            self.memory.put(record)
        return record

    def insert_all(self, several):
        """Keep records of one session, and return them as they were kept."""
        if self.refusal is None:
            began = clock()
            try:
                several = self._insert_all(several)
                self.unsynced = True
                self.changed += 1
            except errors.DatacatError as error:
                self._refuse(error)
            if clock() - began > SLOW_SECONDS:
                self._was_slow()
        if self.refusal is not None:
            for record in several:
                self.memory.put(record)
        return several

    def _insert_all(self, several):
        try:
            self.store.insert_all(several)
        except NumberTaken:
            # An append was interrupted between its row and its count: that row counts.
            taken = self.store.last_number(several[0].session)
            several = [
                record._replace(number=taken + place) for place, record in enumerate(several, 1)
            ]
            self.store.insert_all(several)
        return several

    def save(self, entry, state=None, removing=(), burying=None):
        """Save a session's row, and in the same step what goes with it (see Store.save)."""
        if state is not None:
            self._states[entry.number] = state
        if burying is not None:
            self._letters.append(burying)
            while sum(len(letter.record.body) for letter in self._letters) > bounds.DEAD_BYTES:
                self._letters.popleft()
        began = clock()
        while self.refusal is None or self._settles_fit:
            try:
                self.store.save(entry, state, removing, burying)
            except errors.DatacatError as error:
                # The first refusal frees the reserve, so that it may work the second time.
                self._settles_fit = self.refusal is None and self._refuse(error)
                continue
            self._saved(entry, state, burying)
            break
        if clock() - began > SLOW_SECONDS:
            self._was_slow()

    def _saved(self, entry, state, burying):
        self.unsynced = True
        self.changed += 1
        if state is not None:
            self._states.pop(entry.number, None)
        if burying is not None:
            self._letters.pop()

    def forget_session(self, session):
        """Remove a session with everything it has."""
        self.memory.forget(session)
        self._states.pop(session, None)
        self._forgotten.add(session)
        if self.attempt(self.store.forget_session, session):
            self._forgotten.discard(session)

    def attempt(self, write, *arguments):
        """Do a write that may be left out while the disk refuses; return whether it was done."""
        if self.refusal is not None:
            return False
        try:
            write(*arguments)
        except errors.DatacatError as error:
            self._refuse(error)
            return False
        self.unsynced = True
        self.changed += 1
        return True

    def _refuse(self, error):
        """Note a refusal; return whether settles may fit all the same."""
        self._settles_fit = not isinstance(error, StoreDamaged) and self.has_file
        self.refusal = error
        self._reserve.free()
        self._warn("disk", str(error))
        return self._settles_fit

    def still_refuses(self, error):
        """Note why healing failed; that the file is damaged is not forgotten over it."""
        if not isinstance(self.refusal, StoreDamaged):
            self.refusal = error
        self._settles_fit = False

    # Reading

    def page(self, session, after):
        """Return the session's next records on disk: (records, damaged numbers), or None.

        None: the disk does not give them now; they may be there.
        """
        try:
            return self.store.page(session, after)
        except errors.DatacatError as error:
            if self.refusal is None:
                self._refuse(error)
            else:
                self.refusal = error
            return None

    def last_number(self, session):
        """Return the number of the session's youngest record, 0 where it is not known."""
        in_memory = self.memory.last_number(session)
        try:
            return max(in_memory, self.store.last_number(session))
        except errors.DatacatError:
            return in_memory

    def state(self, session):
        """Return the bytes of the session's merged state as delivered, or None."""
        if session in self._states:
            return self._states[session] or None
        try:
            return self.store.state(session)
        except errors.DatacatError:
            return None

    def dead_letters(self):
        """Return every dead letter, oldest first."""
        try:
            return self.store.dead_letters() + list(self._letters)
        except errors.DatacatError:
            return list(self._letters)

    # Slow

    def _was_slow(self):
        self._slow_at = monotonic()
        if not self.is_slow:
            self.is_slow = True
            self._warn(
                "slow",
                (
                    "the disk under %s is slow; log calls do not wait for it, records reach it "
                    "a moment later" % self.path
                ),
            )

    def is_calm(self, now):
        """Return whether the disk, having been slow, has done well for a while."""
        return now - self._slow_at > CALM_SECONDS

    # Healing

    def measure(self):
        """Notice that the disk is nearly full before sqlite does."""
        if self.has_file and self.refusal is None and bounds.is_disk_nearly_full(self.path):
            self._refuse(
                StoreRefused(
                    "the disk under %s has less than 5%% left, which telemetry must not take; "
                    "records wait in memory until there is more" % self.path
                )
            )

    def catch_up(self, entries, positions, replace):
        """Write what was settled while the disk refused; raise what it refuses with now.

        :param entries: the sessions' entries.
        :param positions: {session: the number up to which its records are out}.
        :param replace: a callable (store) -> a new Store in the place of a damaged one, or None.
        """
        if isinstance(self.refusal, StoreDamaged) and replace is not None:
            self._move_to(replace(self.store))
            self.refusal = StoreRefused("the outbox %s was damaged and moves" % self.path)
        self._give_back_log()
        self.store.settle_all(
            [(entry, positions[entry.number]) for entry in entries],
            self._states,
            self._letters,
            self._forgotten,
        )
        self._states.clear()
        self._letters.clear()
        self._forgotten.clear()
        self._settles_fit = True
        self._give_back_log()

    def _give_back_log(self):
        """The room that the write-ahead log takes may be the very room that is missing."""
        if bounds.has_room_for(self.path, self.store.growth()):
            self.store.checkpoint()

    def write_some(self):
        """Write some of what waits in memory; return whether that was all."""
        some = self.memory.some(_HEALED_AT_ONCE)
        if bounds.is_disk_nearly_full(self.path, self.memory.bytes + bounds.RESERVE_BYTES):
            return False
        self.store.insert_all(some, replacing=True)
        self.unsynced = True
        self.changed += 1
        for record in some:
            self.memory.take_out(record.session, record.number)
        if len(self.memory):
            return False
        self._give_back_log()
        self.refusal = None
        self._reserve.keep()
        return True

    def is_still_there(self):
        """Return whether the file is still the one in the folder."""
        return not self.has_file or self.store.is_still_there(self._inode)

    def rescue(self, replace):
        """Move into a new file where somebody deleted or replaced the one that is open."""
        self._warn(
            "deleted",
            (
                "the outbox %s was deleted or replaced while it was in use; what waits moves to "
                "a new file; keep cleaners out of that folder" % self.path
            ),
        )
        self._reserve.free()
        self._move_to(replace(self.store))
        self.unsynced = True

    # Keeping

    @property
    def closing_seconds(self):
        """How long closing may take: sqlite syncs the log, the file and its folder."""
        return 3 * self._sync_seconds

    def sync(self):
        """Make what was written survive a power cut; return whether a checkpoint is due.

        The write-ahead log is synced through a descriptor of its own: opening the database file
        itself would drop sqlite's lock when it is closed (fcntl(2), advisory record locking).
        """
        self.unsynced = False
        if not self.has_file:
            return False
        began = clock()
        try:
            return _sync_file(self.path + "-wal") > CHECKPOINT_BYTES
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.unsynced = True
                self._warn(
                    "sync",
                    (
                        "%s-wal cannot be synced: %s; a power cut may lose what was logged since"
                        % (self.path, error)
                    ),
                )
            return False
        finally:
            self._sync_seconds = clock() - began

    def is_log_large(self):
        """Return whether the write-ahead log is due for a checkpoint."""
        try:
            return self.has_file and os.path.getsize(self.path + "-wal") > CHECKPOINT_BYTES
        except OSError:
            return False

    def shrink(self):
        """Give some of the file's free pages back, where it is large; return whether any stay."""
        try:
            if not self.has_file or os.path.getsize(self.path) <= SHRINK_BYTES:
                return False
            if self.store.shrink(_FREED_AT_ONCE):
                return True
            self.store.checkpoint()
        except (OSError, errors.DatacatError):
            pass
        return False

    def close(self):
        """Close the file."""
        if self.has_file:
            self._reserve.free()
        self.attempt(self.store.checkpoint, True)
        self.store.close()

    def delete(self):
        """Close the file and remove it."""
        self._reserve.free()
        self.store.delete()


def _sync_file(path):
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
