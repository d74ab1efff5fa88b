"""The persistent queue of one process: sessions, their records, and what becomes of these.

Belongs here: what the rest of datacat asks of an outbox, each in one step under one lock.  Does
not: SQL, trouble with the disk, the network, or a decision about what an answer means.

An Outbox is put together from parts that share its lock: the Intake (how records get in), the
Disk (where they are kept), the Heads (which is next), the Room (which go when there are too many)
and the Upkeep (what keeps the file healthy).
"""

from __future__ import absolute_import, division

import os
import time

from .. import errors
from ..records import build, kinds
from . import bounds
from .disk import Disk
from .entry import Entry
from .heads import Heads
from .intake import Intake, with_lock
from .memory import weight
from .room import Room
from .tables import DeadLetter
from .upkeep import Upkeep

EVENT_KINDS = (kinds.EVENT, kinds.EXCEPTION)


class Outbox(object):
    """The records of one process and pipeline, on disk when `append` returns.

    Thread-safe; `append` may also be called in a signal handler or a finalizer that interrupts
    this object in its own thread.

    :ivar upkeep: the Upkeep, for the keeper's thread.
    :ivar lock: without it no thread of this process is in sqlite for this outbox.
    :ivar stirred: a deque of (entry, capture time in microseconds), appended to when a session
        that had nothing waiting gets a record; for the sender alone, which takes from it.
    :ivar last_lived: when the file was last written before it was opened, microseconds since the
        epoch, 0 where unknown.
    :param store: an open Store; this object closes it.
    :param max_bytes: how large the spool may grow before records are sacrificed.
    :param warn: a callable (topic, message) for what the user of the application should know.
    :param wall: a callable that returns seconds since the epoch.
    """

    def __init__(self, store, max_bytes, warn, wall=time.time):
        self.last_lived = _last_written(store.path)
        self._warn = warn
        self._wall = wall
        self._entries = {}
        self.disk = disk = Disk(store, warn)
        self._heads = Heads(disk, self._count_lost)
        self._room = Room(disk, max_bytes, self.entries, self._heads, self._count_lost)
        self.intake = Intake(disk, wall, self._room, self._tell_dropped)
        self.upkeep = Upkeep(self.intake, disk, self._heads, self._room, self.entries, warn)
        self.lock = self.intake.lock
        self.stirred = self.intake.stirred
        self.append = self.intake.append
        self._load()

    def _load(self):
        store = self.disk.store
        self._last_session = store.last_session()
        for entry in store.entries():
            self._admit(entry)
        self._forget_old_letters(self._now())
        self.upkeep.measure()

    def _admit(self, entry):
        entry.arrivals = self.intake.arrivals
        self._entries[entry.number] = entry

    def _now(self):
        return int(self._wall() * 1000000)

    # What is known without the lock

    @property
    def path(self):
        """The file's path."""
        return self.disk.path

    @property
    def closed(self):
        """Whether `close` was called."""
        return self.intake.closed

    @property
    def refusal(self):
        """The error with which the disk refuses at present, or None."""
        return self.disk.refusal

    @property
    def is_marked_shared(self):
        """Whether a forked child writes into its sessions too (see `shared.mark_shared`)."""
        return self.disk.is_marked_shared

    @property
    def unsynced(self):
        """Whether something is written that a power cut may still take."""
        return self.disk.unsynced

    @property
    def appended(self):
        """Something that is another after every change: records queued, written, or settled."""
        return self.disk.changed, self.intake.last_left, self.disk.memory.bytes

    @property
    def in_memory(self):
        """How many records wait in memory alone."""
        return len(self.disk.memory) + len(self.intake.arrivals)

    def entries(self):
        """Return the sessions' entries, oldest first."""
        return sorted(list(self._entries.values()), key=lambda entry: entry.number)

    def has(self, entry):
        """Return whether a session is in this outbox, and was not forgotten."""
        return self._entries.get(entry.number) is entry

    def find(self, local_id):
        """Return the entry of the session with a local id, or None."""
        for entry in list(self._entries.values()):
            if entry.local_id == local_id:
                return entry
        return None

    # Sessions

    @with_lock
    def add_session(self, local_id, opening, **columns):
        """Add a session and return its entry.

        :param opening: the body of its open request, bytes.
        """
        self._last_session += 1
        entry = Entry(
            number=self._last_session,
            local_id=local_id,
            opening=opening,
            opened=self._now(),
            **columns
        )
        self._admit(entry)
        self.disk.attempt(self.disk.store.add_session, entry)
        return entry

    @with_lock
    def forget(self, entry):
        """Remove a session with everything it has."""
        if self.has(entry):
            entry.forgotten = True
            self._forget(entry)

    @with_lock
    def forget_if_over(self, entry):
        """Remove a session to which nothing more will come; return whether it is gone."""
        if self.has(entry):
            # Said first: a log call that comes after it sees it, one before it is counted.
            entry.forgotten = True
            if entry.is_over:
                self._forget(entry)
            else:
                entry.forgotten = False
        return not self.has(entry)

    def _forget(self, entry):
        self._entries.pop(entry.number, None)
        self._heads.forget(entry)
        self.disk.forget_session(entry.number)

    @with_lock
    def update(self, entry, state=None, **columns):
        """Set columns of a session's entry, and save it; nothing where the session is forgotten.

        :param state: bytes of the merged state; b"" forgets it.
        """
        if self.has(entry):
            for name, value in columns.items():
                setattr(entry, name, value)
            self.disk.save(entry, state)

    @with_lock
    def say_goodbye(self, entry, word, kind=None, body=None):
        """Note how a session went, and append its last record in the same step.

        :param word: "ended", "closed" or "crashed".
        :returns: False where nothing was noted, because the session is forgotten.
        """
        if not self.has(entry):
            return False
        self._report_drops_of(entry)
        self.intake.add(entry, kind, body, goodbye=word)
        return True

    @with_lock
    def state(self, entry):
        """Return the bytes of the session's merged state as delivered, or None."""
        return self.disk.merged_state(entry.number)

    @with_lock
    def notes(self):
        """Return what was noted of the owner of this outbox, a dict of texts."""
        try:
            return self.disk.store.notes()
        except errors.DatacatError:
            return {}

    @with_lock
    def note(self, **notes):
        """Note texts of the owner."""
        self.disk.note(notes)

    # Losses

    def give_up(self, entry, kind):
        """Count a record that cannot be kept as dropped; returns as `append` does."""
        return self.intake.append(entry, kind, None)

    def _count_lost(self, entry, count):
        if count:
            entry.gone += count
            entry.dropped += count
            entry.unreported += count
            self._tell_dropped(entry, count)

    def _tell_dropped(self, entry, count):
        self._warn(
            "dropped",
            "%d records of session %s were dropped; stats() counts them and the server is told"
            % (count, entry.local_id),
        )

    @property
    def has_unreported(self):
        """Whether records were dropped of which the server was not told."""
        return any(entry.unreported for entry in list(self._entries.values()))

    def report_drops(self):
        """Append an event for every session that lost records since its last report."""
        if self.has_unreported and not self.closed:
            self._report_drops()

    @with_lock
    def _report_drops(self):
        for entry in self.entries():
            self._report_drops_of(entry)

    def _report_drops_of(self, entry):
        count = entry.unreported
        if count:
            body = build.encode(build.dropped(count))
            self.intake.add(entry, kinds.EVENT, body, unreported=0)

    # Delivering

    @with_lock
    def heads(self):
        """Return (entry, capture time of its oldest record) of every session with some waiting."""
        return self._heads.times(self.entries())

    def head(self, entry):
        """Return the session's oldest waiting record, or None."""
        if not self.has(entry) or entry.waiting <= 0:
            return None
        return self._head(entry)

    @with_lock
    def _head(self, entry):
        head = self._heads.head(entry)
        if head is not None:
            entry.handed = max(entry.handed, head.number)
        return head

    @with_lock
    def opened(self, entry, record, server_id):
        """The server has the session: keep its id and take the open record out, in one step."""
        if self.has(entry):
            entry.server_id = server_id
            entry.events = entry.metrics = 0
            entry.sent += 1
            self._take_out(entry, record)

    @with_lock
    def settle(self, entry, record, state=None):
        """Take a delivered record out and count it.

        :param state: bytes of the merged state where this record changed it.
        """
        if self.has(entry):
            entry.events += record.kind in EVENT_KINDS
            entry.metrics += record.kind == kinds.METRIC
            entry.sent += 1
            self._take_out(entry, record, state=state)

    @with_lock
    def bury(self, entry, record, status, words):
        """Make a record a dead letter, with what the server said of it."""
        if self.has(entry):
            entry.dead += 1
            now = self._now()
            self._take_out(entry, record, burying=DeadLetter(record, status, words, now))
            self._forget_old_letters(now)

    def _take_out(self, entry, record, state=None, burying=None):
        disk = self.disk
        entry.gone += 1
        self._heads.take_out(entry, record.number)
        disk.memory.take_out(record.session, record.number)
        self._room.left += weight(record)
        disk.save(entry, state, (record.number,), burying)
        self.upkeep.after_settling()

    def _forget_old_letters(self, now):
        self.disk.attempt(
            self.disk.store.forget_dead, now - bounds.DEAD_SECONDS * 1000000, bounds.DEAD_BYTES
        )

    @with_lock
    def dead_letters(self):
        """Return the dead letters, oldest first."""
        return self.disk.dead_letters()

    def take_in(self):
        """Write what was queued while the lock was taken or the disk slow."""
        self.intake.take_in()

    # Ends

    @property
    def is_over(self):
        """Whether nothing waits and every session has said goodbye."""
        return all(entry.is_over for entry in list(self._entries.values()))

    @property
    def closing_seconds(self):
        """How long `close` may take, as far as the disk has shown."""
        return self.upkeep.closing_seconds

    def close(self):
        """Close the file, and delete it where nothing in it matters any more.

        :returns: whether it is closed; not so in a signal handler that interrupts this outbox in
            its own thread, where nothing is done.
        """
        if self.intake.is_mine():
            return False
        self._close()
        return True

    @with_lock
    def _close(self):
        if self.closed:
            return
        self.intake.close()
        self.upkeep.before_closing()
        if self.is_over and not self.dead_letters():
            self.disk.delete()
        else:
            self.disk.close()

    def abandon(self):
        """In a forked child: forget everything, for file and memory are the parent's."""
        self.intake.closed = True
        self.disk.store.abandon()


def _last_written(path):
    """Return when the file was last written, microseconds since the epoch, 0 where unknown."""
    times = [0]
    for name in (path, path + "-wal"):
        try:
            times.append(int(os.stat(name).st_mtime * 1000000))
        except OSError:
            continue
    return max(times)
