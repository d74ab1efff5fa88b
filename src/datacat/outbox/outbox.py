"""The persistent queue: append, head, settle, bury, and the sessions it belongs to.

What may live here: sessions, the oldest record of each, what becomes of it, and the bounds.  What
may not: SQL, trouble with the disk, the network, or a decision about what an answer means.
"""

from __future__ import absolute_import, division

import collections
import os
import time

from .. import errors
from .._compat import monotonic
from ..records import build, kinds
from . import bounds
from .disk import Disk
from .intake import Intake
from .memory import ROOM_AFTER_SACRIFICE, weight
from .tables import DeadLetter, Entry

EVENT_KINDS = (kinds.EVENT, kinds.EXCEPTION)
HEAL_SECONDS = 1.0
_CHECKPOINT_EVERY = 256


class Outbox(Intake):
    """The records of one process and pipeline, on disk when `append` returns.

    :param store: an open Store; this object closes it.
    :param max_bytes: how large the spool may grow before records are sacrificed.
    :param warn: a callable (topic, message) for what the user of the application should know.
    :param wall: a callable that returns seconds since the epoch.

    Thread-safe; `append` may also be called in a signal handler or a finalizer that interrupts
    this object in its own thread.
    """

    def __init__(self, store, max_bytes, warn, wall=time.time):
        self.last_lived = _last_written(store.path)
        super(Outbox, self).__init__(Disk(store, warn), wall)
        self._max_bytes = self._share = max_bytes
        self._warn = warn
        self._sweep = bounds.Sweep()
        self._healed_at = 0.0
        # No OrderedDict: on Python 2 others could not look at it while it changes.
        self._entries = {}
        self._pages = {}
        self._cursors = {}
        self._load()

    def _load(self):
        store = self._disk.store
        self._last_session = store.last_session()
        for entry in store.entries():
            self._admit(entry)
        self._forget_old_letters(self._now())
        self.measure()

    def _admit(self, entry):
        self._entries[entry.number] = entry
        self._cursors[entry.number] = 0
        self._pages[entry.number] = collections.deque()

    # What is known without the lock

    @property
    def path(self):
        """The file's path."""
        return self._disk.path

    @property
    def refusal(self):
        """The error with which the disk refuses at present, or None."""
        return self._disk.refusal

    @property
    def unsynced(self):
        """Whether something is written that a power cut may still take."""
        return self._disk.unsynced

    @property
    def appended(self):
        """Something that is another after every change: records kept, set aside, or settled."""
        return self._disk.changed, self._last_aside, self._disk.memory.bytes

    @property
    def in_memory(self):
        """How many records wait in memory alone."""
        unnumbered = sum(entry.unnumbered for entry in list(self._entries.values()))
        return len(self._disk.memory) + unnumbered

    # Bounds

    def measure(self):
        """See how much room the spool and the disk leave, and make do with it."""
        if not self._disk.has_file or self.closed:
            return
        self._share = bounds.share(self._disk.path, self._max_bytes)
        with self._held():
            self._disk.measure()
        while True:
            with self._held():
                if self.closed or not self._make_room():
                    return

    def _make_room(self):
        """Sacrifice a little: this happens in a log call, and the next one goes on with it.

        Returns whether there may be more to sacrifice.
        """
        if self._disk.memory.is_full:
            merged, dropped, untold = self._disk.memory.make_room(self._heads())
            for session, count in merged.items():
                self._entries[session].merged += count
            for session, count in dropped.items():
                self._count_dropped(self._entries[session], count)
            for session, counts in untold.items():
                self._count_untold(self._entries[session], counts)
        elif self._disk.refusal is None:
            try:
                excess = self._excess()
                return excess > 0 and self._sacrifice(excess)
            except errors.DatacatError:
                # Whatever it was, the next insert or settle meets it too and deals with it.
                return False
        return False

    def _excess(self):
        self._bytes = self._disk.store.size()
        # On disk a record may take twice what it is counted with.
        self._look_at = self._bytes + max(0, self._share - self._bytes) // 2
        return self._bytes - int(self._share * ROOM_AFTER_SACRIFICE)

    def _sacrifice(self, wanted):
        found = self._sweep.next(self._disk.store, self._heads(), wanted)
        if found is None:
            return False
        session, replaced, gone, is_loss = found
        if gone:
            self._give_up(self._entries[session], replaced, gone, is_loss)
        return True

    def _give_up(self, entry, replaced, gone, is_loss):
        self._pages[entry.number].clear()
        counts = entry.dropped, entry.unreported, entry.merged
        try:
            told = [] if not is_loss else self._told_in(entry, gone)
            if is_loss:
                self._count_dropped(entry, len(gone) - len(told))
            else:
                entry.merged += len(gone)
            self._count_untold(entry, told)
            self._disk.store.save(entry, removing=gone, replacing=replaced)
            self._disk.unsynced = True
        except errors.DatacatError:
            entry.dropped, entry.unreported, entry.merged = counts
            raise

    def _told_in(self, entry, gone):
        bodies = self._disk.store.short_bodies(
            entry.number, gone, kinds.EVENT, build.LONGEST_REPORT
        )
        return [count for count in map(build.told_in, bodies) if count]

    def _count_untold(self, entry, counts):
        """What sacrificed reports told of is merged into the next one."""
        entry.merged += len(counts)
        entry.unreported += sum(counts)

    def _heads(self):
        heads = collections.OrderedDict()
        for entry in self.entries():
            head = self._head(entry)
            heads[entry.number] = self._cursors[entry.number] if head is None else head.number
        return heads

    def _count_dropped(self, entry, count):
        if not count:
            return
        entry.dropped += count
        entry.unreported += count
        self._warn(
            "dropped",
            (
                "%d records of session %s were dropped; stats() counts them and the server is told"
                % (count, entry.local_id)
            ),
        )

    @property
    def has_unreported(self):
        """Whether records were dropped of which the server was not told."""
        return any(entry.unreported for entry in list(self._entries.values()))

    def report_drops(self):
        """Append an event for every session that lost records since its last report."""
        if self.has_unreported and not self.closed:
            with self._held():
                for entry in self._entries.values():
                    self._report_drops_of(entry)

    def _report_drops_of(self, entry):
        if entry.unreported:
            count, entry.unreported = entry.unreported, 0
            body = build.encode(build.dropped(count))
            self._accept(entry, kinds.EVENT, body, saving=True)

    # Sessions

    def entries(self):
        """Return the sessions' entries, oldest first."""
        return sorted(self._entries.values(), key=lambda entry: entry.number)

    def find(self, local_id):
        """Return the entry of the session with a local id, or None."""
        for entry in list(self._entries.values()):
            if entry.local_id == local_id:
                return entry
        return None

    def add_session(self, local_id, opening, **columns):
        """Add a session and return its entry.

        :param opening: the body of its open request, bytes.
        """
        with self._held():
            self._last_session += 1
            entry = Entry(
                number=self._last_session,
                local_id=local_id,
                opening=opening,
                opened=self._now(),
                **columns
            )
            self._admit(entry)
            self._disk.attempt(self._disk.store.add_session, entry)
            return entry

    def forget(self, entry):
        """Remove a session with everything it has."""
        with self._held():
            if self.has(entry):
                self._forget(entry.number)

    def forget_if_over(self, entry):
        """Remove a session to which nothing more will come; return whether it is gone."""
        with self._held():
            if self.has(entry) and entry.is_over:
                self._forget(entry.number)
            return not self.has(entry)

    def _forget(self, session):
        self._entries.pop(session, None)
        self._pages.pop(session, None)
        self._cursors.pop(session, None)
        self._broken_off.discard(session)
        self._disk.forget_session(session)

    def update(self, entry, state=None, **columns):
        """Set columns of a session's entry, and save it; nothing where the session is forgotten.

        :param state: bytes of the merged state; b"" forgets it.
        """
        with self._held():
            if self.has(entry):
                for name, value in columns.items():
                    setattr(entry, name, value)
                self._disk.save(entry, state)

    def say_goodbye(self, entry, word, kind=None, body=None):
        """Note how a session went, and append its last record in the same step.

        :param word: "ended", "closed" or "crashed".
        :returns: False where nothing was noted, because the session is forgotten.
        """
        with self._held():
            if not self.has(entry):
                return False
            self._take_in_of(entry, len(entry.aside))
            self._report_drops_of(entry)
            entry.goodbye = word
            if kind is None:
                self._disk.save(entry)
            else:
                self._accept(entry, kind, body, saving=True)
            return True

    def state(self, entry):
        """Return the bytes of the session's merged state as delivered, or None."""
        with self._held():
            return self._disk.state(entry.number)

    def notes(self):
        """Return what was noted of the owner of this outbox, a dict of texts."""
        with self._held():
            try:
                return self._disk.store.notes()
            except errors.DatacatError:
                return {}

    def note(self, **notes):
        """Note texts of the owner."""
        with self._held():
            for name, value in notes.items():
                self._disk.attempt(self._disk.store.note, name, value)

    # Delivering

    def heads(self):
        """Return (entry, capture time of its oldest record) of every session with some waiting."""
        found = [(entry, self.head(entry)) for entry in self.entries()]
        return [(entry, head.captured) for entry, head in found if head is not None]

    def head(self, entry):
        """Return the session's oldest waiting record, or None."""
        if not self.has(entry) or entry.waiting <= 0:
            return None
        with self._held():
            if entry.unnumbered and not self.closed:
                # The hint to take it in may have been lost to an interruption.
                self._asiders[entry.number] = entry
            return self._head(entry)

    def _head(self, entry):
        page = self._pages.get(entry.number)
        if page is None:
            return None
        if not page and entry.numbered > 0:
            self._load_page(entry, page)
        written = page[0] if page else None
        remembered = self._disk.memory.first(entry.number)
        if written is None or remembered is None:
            return written or remembered
        return min(written, remembered, key=lambda record: record.number)

    def _load_page(self, entry, page):
        in_memory = self._disk.memory.count(entry.number)
        if entry.numbered <= in_memory:
            return
        loaded = self._disk.page(entry.number, self._cursors[entry.number])
        if loaded is None:
            return
        found, damaged = loaded
        page.extend(found)
        # Where nothing is found any more, what is counted and not there is lost.
        lost = len(damaged) if found or damaged else entry.numbered - in_memory
        if lost:
            self._count_dropped(entry, lost)
            self._disk.save(entry, removing=damaged)

    def opened(self, entry, record, server_id):
        """The server has the session: keep its id and take the open record out, in one step."""
        with self._held():
            if self.has(entry):
                entry.server_id = server_id
                entry.events = entry.metrics = 0
                entry.sent += 1
                self._take_out(entry, record)

    def settle(self, entry, record, state=None):
        """Take a delivered record out and count it.

        :param state: bytes of the merged state where this record changed it.
        """
        with self._held():
            if self.has(entry):
                entry.events += record.kind in EVENT_KINDS
                entry.metrics += record.kind == kinds.METRIC
                entry.sent += 1
                self._take_out(entry, record, state=state)

    def bury(self, entry, record, status, words):
        """Make a record a dead letter, with what the server said of it."""
        with self._held():
            if self.has(entry):
                entry.dead += 1
                now = self._now()
                self._take_out(entry, record, burying=DeadLetter(record, status, words, now))
                self._forget_old_letters(now)

    def _take_out(self, entry, record, state=None, burying=None):
        self._cursors[entry.number] = record.number
        page = self._pages[entry.number]
        if page and page[0].number == record.number:
            page.popleft()
        disk = self._disk
        disk.memory.take_out(record.session, record.number)
        self._bytes -= weight(record)
        disk.save(entry, state, (record.number,), burying)
        if disk.refusal is not None and monotonic() - self._healed_at > HEAL_SECONDS:
            self._heal(None)
        elif disk.changed % _CHECKPOINT_EVERY == 0 and disk.is_log_large():
            disk.attempt(disk.store.checkpoint)

    def _forget_old_letters(self, now):
        self._disk.attempt(
            self._disk.store.forget_dead, now - bounds.DEAD_SECONDS * 1000000, bounds.DEAD_BYTES
        )

    def dead_letters(self):
        """Return the dead letters, oldest first."""
        with self._held():
            return self._disk.dead_letters()

    # Keeping

    def heal(self, replace):
        """Write what waits in memory, now that the disk may take it again; return whether it did.

        :param replace: a callable (store) -> a new Store in the place of a damaged one.
        """
        while True:
            with self._held():
                before = len(self._disk.memory)
                done = not self.closed and self._heal(replace)
                if done or len(self._disk.memory) >= before:
                    return done

    def _heal(self, replace):
        disk = self._disk
        self._healed_at = monotonic()
        if not disk.has_file:
            return False
        path = disk.path
        try:
            disk.catch_up(self._entries.values(), self._cursors, replace)
            return disk.write_some()
        except errors.DatacatError as error:
            disk.still_refuses(error)
            return False
        finally:
            if disk.path != path:
                self._forget_pages()

    def _forget_pages(self):
        for page in self._pages.values():
            page.clear()

    def rescue(self, replace):
        """Move into a new file where somebody deleted or replaced the one that is open."""
        if self.closed or self._disk.is_still_there():
            return
        with self._held():
            try:
                self._disk.rescue(replace)
                self._forget_pages()
            except errors.DatacatError as error:
                self._disk.still_refuses(error)

    def sync(self):
        """Make what was appended survive a power cut; does not hold up log calls."""
        if self._disk.sync():
            with self._held():
                if not self.closed:
                    self._disk.attempt(self._disk.store.checkpoint)

    def shrink(self):
        """Give the file's free pages back, where it is drained and was large."""
        while self._shrink_a_little():
            pass

    def _shrink_a_little(self):
        # Not all in one: a log call would have to wait for it, some seconds for a million records.
        with self._held():
            waiting = any(entry.waiting > 0 for entry in self._entries.values())
            return not waiting and not self.closed and self._disk.shrink()

    # Ends

    @property
    def is_over(self):
        """Whether nothing waits and every session has said goodbye."""
        return all(entry.is_over for entry in list(self._entries.values()))

    @property
    def closing_seconds(self):
        """How long `close` may take, as far as the disk has shown."""
        return self._disk.closing_seconds

    def close(self):
        """Close the file, and delete it where nothing in it matters any more."""
        with self._held():
            if self.closed:
                return
            # From here on `append` refuses; what came before is taken in.
            self.closed = True
            self._take_in()
            if self._disk.refusal is not None:
                self._heal(None)
            if self.is_over and not self.dead_letters():
                self._disk.delete()
            else:
                self._disk.close()

    def abandon(self):
        """In a forked child: forget everything, for file and memory are the parent's."""
        self.closed = True
        self._disk.store.abandon()


def _last_written(path):
    """Return when the file was last written, microseconds since the epoch, 0 where unknown."""
    times = [0]
    for name in (path, path + "-wal"):
        try:
            times.append(int(os.stat(name).st_mtime * 1000000))
        except OSError:
            continue
    return max(times)
