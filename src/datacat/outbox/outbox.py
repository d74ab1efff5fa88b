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
from ..records import kinds
from . import losses
from .disk import Disk
from .entry import Entry
from .heads import Heads
from .intake import Intake, with_lock
from .memory import weight
from .room import Room
from .sessions import Sessions
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
        that had nothing waiting gets a record, or (entry, None) when one says goodbye without a
        record; for the sender alone, which takes from it.
    :ivar last_lived: when the file was last written before it was opened, microseconds since the
        epoch, 0 where unknown.
    :param store: an open Store; this object closes it.
    :param max_bytes: how large the spool may grow before records are sacrificed.
    :param warn: a callable (topic, message) for what the user of the application should know.
    :param wall: a callable that returns seconds since the epoch.
    """

    def __init__(self, store, max_bytes, warn, wall=time.time):
        self.last_lived = _last_written(store.path)
        self._wall = wall
        self._sessions = sessions = Sessions()
        self.entries, self.has, self.find = sessions.entries, sessions.has, sessions.find
        self.disk = disk = Disk(store, warn)
        told = losses.Losses(warn)
        self._heads = Heads(disk, told)
        self._room = Room(disk, max_bytes, self.entries, self._heads, told)
        self.intake = Intake(disk, wall, self._room, told)
        self.upkeep = Upkeep(self.intake, disk, self._heads, self._room, self.entries, warn)
        self.lock = self.intake.lock
        self.stirred = self.intake.stirred
        self.append, self.give_up = self.intake.append, self.intake.give_up
        self.append_once = self.intake.append_once
        self.take_in = self.intake.take_in
        self._is_shut = False
        self._ending = None
        self._load()

    def _load(self):
        store = self.disk.store
        self._last_session = store.last_session()
        for entry in store.entries():
            self._admit(entry)
        self.upkeep.forget_old_letters(self._now())
        self.upkeep.measure()

    def _admit(self, entry):
        entry.arrivals = self.intake.arrivals
        self._sessions.add(entry)

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
        return self.disk.changed, self.intake.last_queued, self.disk.memory.bytes

    @property
    def in_memory(self):
        """How many records wait in memory alone."""
        return len(self.disk.memory) + len(self.intake.arrivals)

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
            self._forget_if(entry, lambda: True)

    @with_lock
    def forget_if_over(self, entry):
        """Remove a session to which nothing more will come; return whether it is gone."""
        if self.has(entry) and entry.is_over:
            self._forget_if(entry, lambda: entry.is_over)
        return not self.has(entry)

    def _forget_if(self, entry, is_sure):
        # Said first: a log call that comes after it sees it, one before it is counted.
        entry.forgotten = True
        try:
            if is_sure():
                self._sessions.remove(entry)
                self._heads.forget(entry)
                self.disk.forget_session(entry.number)
        finally:
            # Or a log call would be refused for ever by a session that is still there.
            entry.forgotten = not self.has(entry)

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
        losses.report(self.intake, entry)
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

    @property
    def has_unreported(self):
        """Whether records were dropped of which the server was not told."""
        return any(entry.unreported for entry in self.entries())

    def report_drops(self):
        """Append an event for every session that lost records since its last report."""
        if self.has_unreported and not self.closed:
            self.intake.run(losses.report_all, self.intake, self.entries())

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
        if self._pass(entry, record):
            entry.server_id = server_id
            entry.events = entry.metrics = 0
            self._save(entry, record)

    @with_lock
    def settle(self, entry, record, state=None):
        """Take a delivered record out and count it.

        :param state: bytes of the merged state where this record changed it.
        """
        if self._pass(entry, record):
            entry.events += record.kind in EVENT_KINDS
            entry.metrics += record.kind == kinds.METRIC
            self._save(entry, record, state)

    @with_lock
    def bury(self, entry, record, status, words):
        """Make a record a dead letter, with what the server said of it."""
        if self._pass(entry, record, is_dead=True):
            now = self._now()
            self._save(entry, record, burying=DeadLetter(record, status, words, now))
            self.upkeep.forget_old_letters(now)

    def _pass(self, entry, record, is_dead=False):
        """Move a session's position past a record; return False where that was done before.

        From here on the record is out.  What else belongs to that may be cut short by want of
        memory: the session's next step makes up for it.
        """
        if not self.has(entry) or record.number <= entry.position:
            return False
        entry.position = record.number
        entry.gone += 1
        if is_dead:
            entry.dead += 1
        else:
            entry.sent += 1
        return True

    def _save(self, entry, record, state=None, burying=None):
        self.disk.memory.take_out(record.session, record.number)
        self._room.left += weight(record)
        self.disk.save(entry, state, burying)
        self.upkeep.after_settling()

    @with_lock
    def dead_letters(self):
        """Return the dead letters, oldest first."""
        return self.disk.dead_letters()

    # Ends

    @property
    def is_over(self):
        """Whether nothing waits and every session has said goodbye."""
        return all(entry.is_over for entry in self.entries())

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
        # Not `closed`: what an exception broke off is done by the next call.
        if self._is_shut:
            return
        self.intake.close()
        if self._ending is None:
            self.upkeep.before_closing()
            is_needed = not self.is_over or self.dead_letters()
            # Decided once: a file that is closed already seems to have no dead letters.
            self._ending = self.disk.close if is_needed else self.disk.delete
        self._ending()
        self._is_shut = True

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
