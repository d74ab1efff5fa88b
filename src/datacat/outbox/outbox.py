"""The persistent queue of one process: sessions, their records, and what becomes of these.

Belongs here: what the rest of datacat asks of an outbox, each in one step under one lock.  Does
not: SQL, trouble with the disk, the network, or a decision about what an answer means.

An Outbox is made of parts that share its lock: the Intake (how records get in), the Disk (where
they are kept), the Heads (which one is next), the Room (which are dropped when there are too many)
and the Upkeep (what keeps the file healthy).
"""

from __future__ import absolute_import, division

import os

from .. import errors
from .._compat import wall_clock
from .disk import Disk
from .entry import Entry
from .heads import Heads
from .intake import Intake, with_lock
from .losses import Losses
from .memory import ROW_OVERHEAD
from .room import Room
from .sessions import Sessions
from .tables import DeadLetter
from .upkeep import Upkeep


class Outbox(object):
    """The records of one process and pipeline, on disk when `append` returns.

    Thread-safe; `append` may also be called in a signal handler or a finalizer that interrupts
    this object in its own thread.

    :ivar upkeep: the Upkeep, for the keeper's thread.
    :ivar lock: held by any thread that is in sqlite for this outbox.
    :ivar newly_waiting: a deque of (entry, capture time in microseconds), appended to when a
        session that had nothing waiting gets a record, or (entry, None) when one says goodbye
        without a record.  Only the sender takes from it.
    :ivar last_lived: when the file was last written before it was opened, microseconds since the
        epoch, 0 if unknown.
    :param store: an open Store; this object closes it.
    :param max_bytes: how large the spool may grow before records are sacrificed.
    :param warn: a callable (topic, message) with `clear(topic)`, for the application's user.
    :param wall: a callable that returns seconds since the epoch.
    """

    def __init__(self, store, max_bytes, warn, wall=wall_clock):
        self.last_lived = _last_written(store.path)
        self._wall = wall
        self._sessions = sessions = Sessions()
        self.entries, self.has, self.find = sessions.entries, sessions.has, sessions.find
        self.disk = disk = Disk(store, warn)
        self._losses = losses = Losses(warn)
        self._heads = Heads(disk, losses)
        self._room = Room(disk, max_bytes, self.entries, self._heads, losses)
        self.intake = Intake(disk, wall, self._room, losses)
        self.upkeep = Upkeep(self.intake, disk, self._heads, self._room, self.entries, warn)
        self.lock = self.intake.lock
        self.newly_waiting = self.intake.newly_waiting
        intake = self.intake
        self.append, self.append_once = intake.append, intake.append_once
        self.give_up, self.take_in = intake.give_up, intake.take_in
        self._is_shut = False
        self._ending = None
        self._load()

    def _load(self):
        store = self.disk.store
        self._last_session = store.last_session()
        for entry in store.entries():
            self._admit(entry)
        self.upkeep.forget_old_letters(_microseconds(self._wall()))
        self.upkeep.measure()

    def _admit(self, entry):
        entry.arrivals = self.intake.arrivals
        self._sessions.add(entry)

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
        """The error with which the disk refuses now, or None."""
        return self.disk.refusal

    def is_marked_shared(self, entry):
        """Return whether a forked child writes into a session too (see `shared.mark_shared`)."""
        return self.disk.is_marked_shared(entry.server_id)

    @property
    def unsynced(self):
        """Whether something was written that a power cut could still take."""
        return self.disk.unsynced

    def changes(self):
        """Return a value that differs after every change: a record queued, written or settled."""
        return self.disk.changed, self.intake.last_queued, self.disk.memory.bytes

    @property
    def in_memory(self):
        """How many records wait in memory only."""
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
            opened=_microseconds(self._wall()),
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
        """Remove a session that is over; return whether it is gone."""
        if self.has(entry) and entry.is_over:
            self._forget_if(entry, lambda: entry.is_over)
        return not self.has(entry)

    def _forget_if(self, entry, is_sure):
        # Set first: later calls see it, earlier ones are in `waiting`.
        entry.forgotten = True
        try:
            if is_sure():
                self._sessions.remove(entry)
                self._heads.forget(entry)
                self.disk.forget_session(entry.number)
        finally:
            # If removal failed, accept records again.
            entry.forgotten = not self.has(entry)

    @with_lock
    def update(self, entry, state=None, **columns):
        """Set columns of a session's entry and save it; harmless if the session is forgotten.

        :param state: bytes of the merged state; b"" deletes it.
        """
        if not entry.forgotten:
            for name, value in columns.items():
                setattr(entry, name, value)
            self.disk.save(entry, state)

    @with_lock
    def say_goodbye(self, entry, word, kind=None, body=None):
        """Note how a session ended, and append its last record in the same step.

        :param word: "ended", "closed", "crashed" or "left".
        :returns: False if the session is forgotten; then nothing was noted.
        """
        if entry.forgotten:
            return False
        self._losses.report(self.intake, [entry])
        self.intake.add(entry, kind, body, goodbye=word)
        return True

    @with_lock
    def state(self, entry):
        """Return the bytes of the session's merged state as delivered, or None."""
        return self.disk.merged_state(entry.number)

    @with_lock
    def notes(self):
        """Return what the owner of this outbox noted of itself, a dict of texts."""
        try:
            return self.disk.store.notes()
        except errors.DatacatError:
            return {}

    @with_lock
    def note(self, **notes):
        """Note texts about the owner, by name."""
        self.disk.note(notes)

    # Losses

    @property
    def has_unreported(self):
        """Whether there are drops that were not reported to the server."""
        return any(entry.unreported for entry in self.entries())

    def report_drops(self):
        """Append an event to every session that lost records since its last report."""
        if self.has_unreported and not self.closed:
            for entry in self.entries():
                self._losses.prepare(entry)
            self.intake.run(self._losses.report, self.intake, self.entries())

    # Delivering

    @with_lock
    def heads(self):
        """Return (entry, capture time of its oldest record) for every session with any waiting."""
        return self._heads.times(self.entries())

    @with_lock
    def head(self, entry):
        """Return the session's oldest waiting record, or None."""
        head = None if entry.forgotten else self._heads.head(entry)
        if head is not None:
            entry.handed = max(entry.handed, head.number)
        return head

    @with_lock
    def front(self, entry, most):
        """Return the session's oldest waiting records that are at hand, in order.

        :param most: how many to return at most.
        """
        found = [] if entry.forgotten else self._heads.front(entry, most)
        if found:
            entry.handed = max(entry.handed, found[-1].number)
        return found

    @with_lock
    def opened(self, entry, record, server_id):
        """Keep the id that the server gave the session and remove the open record, in one step."""
        if entry.let_out(record):
            entry.server_id = server_id
            entry.events = entry.metrics = 0
            self._save(entry, [record])

    def settle(self, entry, record, state=None):
        """Remove a delivered record and count it; see `settle_all`."""
        self.settle_all(entry, (record,), state)

    @with_lock
    def settle_all(self, entry, records, state=None, overtaken=0):
        """Remove a session's oldest records, which were delivered, and count them, in one step.

        :param records: in their order.
        :param state: bytes of the merged state, if they changed it.
        :param overtaken: how many older ones still wait.
        """
        if overtaken:
            settled = entry.let_out_ahead(records, overtaken)
            self._heads.forget(entry)
        else:
            settled = entry.let_out_all(records)
        if settled:
            self._save(entry, settled, state)

    @with_lock
    def bury(self, entry, record, status, words):
        """Make a record a dead letter, with what the server said about it."""
        if entry.let_out(record, is_dead=True):
            now = _microseconds(self._wall())
            self._save(entry, [record], burying=DeadLetter(record, status, words, now))
            self.upkeep.forget_old_letters(now)

    def _save(self, entry, records, state=None, burying=None):
        memory = self.disk.memory
        for record in records:
            if memory.sessions:
                memory.take_out(record.session, record.number)
            self._room.left += len(record.body) + ROW_OVERHEAD
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
        """Close the file, and delete it if nothing in it is needed any more.

        :returns: whether it is closed.  A call that interrupts this outbox in its own thread (a
            signal handler) does nothing and returns False.
        """
        if self.intake.is_mine():
            return False
        self._close()
        return True

    @with_lock
    def _close(self):
        # Not `closed`: an interrupted close is finished by the next call.
        if self._is_shut:
            return
        self.intake.close()
        if self._ending is None:
            self.upkeep.before_closing()
            is_needed = not self.is_over or self.dead_letters()
            # Decided once: a file that is already closed seems to have no dead letters.
            self._ending = self.disk.close if is_needed else self.disk.delete
        self._ending()
        self._is_shut = True

    def abandon(self):
        """In a forked child: never use this outbox again; its records are the parent's."""
        self.intake.closed = True
        self.disk.store.abandon()


def _last_written(path):
    """Return when the file was last written, microseconds since the epoch, 0 if unknown."""
    times = [0]
    for name in (path, path + "-wal"):
        try:
            times.append(_microseconds(os.stat(name).st_mtime))
        except OSError:
            continue
    return max(times)


def _microseconds(seconds):
    return int(seconds * 1000000)
