"""A store that never refuses: what the disk does not take waits in memory and is written later.

A Disk is in one of these states:

- HEALTHY: every write goes to the file.
- SETTLES_FIT: inserts are refused and go to memory; settles still fit, because the reserve was
  freed.  The first refusal of a healthy disk leads here.
- REFUSING: nothing is written.  What happens is remembered: counts and positions in the entries;
  states, dead letters, forgotten sessions and notes in `unwritten`.
- DAMAGED, DELETED, DETACHED, HOMELESS: as REFUSING, and the file must be replaced first: by one
  with what can still be read of it, or, if there never was a file, by an empty one.  DETACHED:
  another part of the process closed its descriptors.

1. Everything here happens with the outbox's lock held, except reading an attribute, `calm_down`,
   and setting `synced`, which the keeper does.
2. Three things lead away from HEALTHY: a read or write that sqlite refuses, `measure`, which finds
   the disk nearly full before sqlite does, and `is_still_there`, which finds the file gone.  Only
   `healing` leads back.  Closed descriptors are noticed by any read or write but an insert, which
   looks every 10 ms: what is inserted in between may be in a file of the application.
3. A write that is refused changes nothing: sqlite rolls it back, and here the record goes to
   memory under the number it has.  Its session sees no difference.
4. A write may be interrupted anywhere, by a signal handler that raises or by want of memory.  An
   insert is repeated by the writer under the same number.  A save writes absolute counts and
   positions, so the next one makes up for it.  Its state and its dead letter are in `unwritten`
   before the write and leave it afterwards; notes stay there, for the files to come.
5. Slowness is a flag beside the state: log calls do not wait for a slow disk (see `intake`).

Belongs here: trouble with the disk (full, failing, slow, file damaged or deleted).  Does not:
recovery (see `healing`), SQL, locks, numbers, and who may have which file.
"""

from __future__ import absolute_import, division

import os

from .. import errors
from .._compat import monotonic
from . import bounds
from .memory import MemoryQueue
from .refusals import NumberTaken, StoreDamaged, StoreDetached, StoreRefused
from .shared import is_marked_shared
from .tables import record_of
from .unwritten import Unwritten

HEALTHY = "healthy"
SETTLES_FIT = "settles fit"
REFUSING = "refusing"
DAMAGED = "damaged"
DELETED = "deleted"
DETACHED = "detached"
HOMELESS = "homeless"
_WRITABLE = (HEALTHY, SETTLES_FIT)
WITHOUT_FILE = (DAMAGED, DELETED, DETACHED, HOMELESS)

# Not much less than what a log call may take: a starved process looks like a slow disk.
SLOW_SECONDS = 0.2
CALM_SECONDS = 2.0
CHECK_SECONDS = 0.01


_CLASH = (
    "bug in datacat, please report it: a record's number was already taken in the outbox %s; the "
    "record gets the next free one"
)
_SLOW = (
    "the disk under %s is slow: log calls no longer wait for it, and records reach it a moment "
    "later"
)
_NEARLY_FULL = (
    "the disk under %s has less than 5%% and less than 1 GiB left, which must not be taken by "
    "telemetry; records wait in memory until space is freed"
)
_DELETED = (
    "the outbox %s was deleted or replaced while in use; waiting records move to a new file; keep "
    "cleaners out of that folder"
)


# What leads to another state, besides the DatacatError of a refusal.
VANISHED = "vanished"
MOVED = "moved"
CAUGHT_UP = "caught up"
HEALED = "healed"
_AFTER = {VANISHED: DELETED, MOVED: REFUSING, CAUGHT_UP: SETTLES_FIT, HEALED: HEALTHY}


def next_state(state, event):
    """Return the state of a disk after an event.

    :param state: the state before.
    :param event: VANISHED, MOVED, CAUGHT_UP, HEALED, or the DatacatError of a refusal.
    """
    if event in _AFTER:
        return _AFTER[event]
    if state in WITHOUT_FILE:
        return state
    if isinstance(event, StoreDamaged):
        return DAMAGED
    if isinstance(event, StoreDetached):
        return DETACHED
    return SETTLES_FIT if state is HEALTHY else REFUSING


class Disk(object):
    """The store of one outbox, and what waits until it takes it.

    The caller holds the outbox's lock (see 1 above).

    :ivar refusal: the error with which the disk refuses, None while it is healthy.
    :ivar has_reserve: whether space is kept for settles on a full disk.
    :ivar is_slow: whether a write took so long that log calls must not wait for the next one.
    :ivar changed: a count that grows with every write; `synced` is what it was at the last sync.
    :param store: an open Store; this object closes it.
    :param warn: a callable (topic, message) with `clear(topic)`.
    """

    def __init__(self, store, warn):
        self.memory = MemoryQueue()
        self.is_slow = False
        self.changed = 0
        self.synced = 0
        self._warn = warn
        self._slow_at = self._check_at = 0.0
        self.unwritten = Unwritten()
        self._paths = []
        self.state = HOMELESS
        self.move_to(store)
        self.state = HEALTHY if self.has_file else HOMELESS
        self.refusal = None if self.has_file else store.reason
        if not self.has_file:
            warn("disk", str(store.reason))

    def move_to(self, store):
        """Continue with another store, whose file has to catch up."""
        self._paths.append(store.path)
        inode = None if store.is_in_memory else os.stat(store.path).st_ino
        # All at once, which no signal handler can interrupt.
        vars(self).update(
            has_reserve=False,
            store=store,
            path=store.path,
            reserve=bounds.Reserve(store.path),
            _inode=inode,
            state=next_state(self.state, MOVED),
            refusal=StoreRefused("the outbox has just moved to %s" % store.path),
        )

    @property
    def has_file(self):
        """Whether there is a file at all."""
        return self._inode is not None

    def is_marked_shared(self, server_id):
        """Return whether a forked child has marked a session beside a file that this has or had.

        :param server_id: the session's.
        """
        return any(is_marked_shared(path, server_id) for path in self._paths)

    @property
    def unsynced(self):
        """Whether something was written that a power cut could still take."""
        return self.changed != self.synced

    # Writing

    def insert(self, row):
        """Keep a new record, given as a row of the records table; return whether it is on disk.

        :raises NumberTaken: if its session has a record of that number.
        """
        if self.state is HEALTHY:
            began = monotonic()
            try:
                if began > self._check_at:
                    self._check_at = began + CHECK_SECONDS
                    self.store.check()
                self.store.insert(row)
            except NumberTaken:
                self._tell_clash()
                raise
            except errors.DatacatError as error:
                self.refused(error)
            else:
                self.changed += 1
                if monotonic() - began > SLOW_SECONDS:
                    self._was_slow()
                return True
        self.memory.put(record_of(row))
        return False

    def insert_all(self, several, replacing=False, changing=None):
        """Keep several records in one step; return whether they are on disk.

        :param replacing: whether an interrupted attempt may have written some of them.
        :param changing: has an `entry` to save with them and its `changes`, or None.
        :raises NumberTaken: if a number is taken, unless `replacing`.
        """
        if self.state is HEALTHY:
            began = monotonic()
            try:
                self.store.insert_all(several, replacing, changing)
            except NumberTaken:
                self._tell_clash()
                raise
            except errors.DatacatError as error:
                self.refused(error)
            self.changed += 1
            self._time(began)
            if self.state is HEALTHY:
                return True
        for record in several:
            self.memory.put(record)
        if changing is not None:
            self.save(changing.entry, changes=changing.changes)
        return False

    def _tell_clash(self):
        self._warn("clash", _CLASH % self.path)

    def save(self, entry, state=None, burying=None, changes=None):
        """Save a session's row, and in the same step what goes with it (see Store.save)."""
        is_more = state is not None or burying is not None
        if is_more:
            self.unwritten.add(entry.number, state, burying)
        began = monotonic()
        while self.state in _WRITABLE:
            try:
                self.store.save(entry, state, burying, changes)
            except errors.DatacatError as error:
                # The first refusal frees the reserve, so a second attempt may fit.
                self.refused(error)
                continue
            self.changed += 1
            if is_more:
                self.unwritten.remove(entry.number, state, burying)
            break
        self._time(began)

    def forget_session(self, session):
        """Remove a session with everything it has."""
        self.memory.forget(session)
        self.unwritten.forget(session)
        if self.attempt(self.store.forget_session, session):
            self.unwritten.forgotten.discard(session)

    def note(self, notes):
        """Keep texts under names, in this file and in those that it moves to."""
        self.unwritten.notes.update(notes)
        self.attempt(self.store.note, notes)

    def attempt(self, write, *arguments):
        """Do a write that can be skipped while the disk refuses; return whether it was done."""
        if self.state is not HEALTHY:
            return False
        try:
            write(*arguments)
        except errors.DatacatError as error:
            self.refused(error)
            return False
        self.changed += 1
        return True

    def refused(self, error):
        """Note that a write or read was refused."""
        if self.state is HEALTHY:
            self.reserve.free()
            self.has_reserve = False
        if isinstance(error, StoreDetached) and self.state not in WITHOUT_FILE:
            self._warn("detached", str(error))
        elif self.state is HEALTHY:
            self._warn("disk", str(error))
        self.enter(error, self.refusal if self.state in WITHOUT_FILE else error)

    def enter(self, event, refusal=None):
        """Change to the state that an event leads to; it changes nowhere else.

        :param refusal: the error to refuse with from now on.
        """
        self.state = next_state(self.state, event)
        self.refusal = refusal

    def has_healed(self):
        """Note that everything is on disk, and warn again if it refuses again."""
        self.enter(HEALED)
        for topic in ("disk", "deleted", "detached"):
            self._warn.clear(topic)

    # Reading

    def page(self, session, after, most):
        """Return the session's next records on disk: (records, damaged numbers), or None.

        None: they cannot be read now, but may be there.
        """
        try:
            return self.store.page(session, after, most)
        except errors.DatacatError as error:
            self.refused(error)
            return None

    def heads(self):
        """Return {session: (number, capture time)} of each session's first record on disk."""
        try:
            return self.store.heads()
        except errors.DatacatError as error:
            self.refused(error)
            return {}

    def last_number(self, session):
        """Return the number of the session's youngest record, 0 if it is not known."""
        in_memory = self.memory.last_number(session)
        try:
            return max(in_memory, self.store.last_number(session))
        except errors.DatacatError:
            return in_memory

    def merged_state(self, session):
        """Return the bytes of the session's merged state as delivered, or None."""
        if session in self.unwritten.states:
            return self.unwritten.states[session] or None
        try:
            return self.store.state(session)
        except errors.DatacatError:
            return None

    def dead_letters(self):
        """Return every dead letter, oldest first."""
        try:
            return self.store.dead_letters() + list(self.unwritten.letters)
        except errors.DatacatError:
            return list(self.unwritten.letters)

    # Slow

    def _time(self, began):
        if monotonic() - began > SLOW_SECONDS:
            self._was_slow()

    def _was_slow(self):
        self._slow_at = monotonic()
        if not self.is_slow:
            self.is_slow = True
            self._warn("slow", _SLOW % self.path)

    def calm_down(self, now):
        """Let log calls wait for the disk again once it has done well for a while."""
        if self.is_slow and now - self._slow_at > CALM_SECONDS:
            self.is_slow = False
            self._warn.clear("slow")

    # Trouble and its end

    def measure(self):
        """Notice that the disk is nearly full before sqlite does."""
        if self.state is HEALTHY and bounds.is_disk_nearly_full(self.path):
            self.refused(StoreRefused(_NEARLY_FULL % self.path))

    def keep_reserve(self, size):
        """Take up the space that is freed when the disk is full, if there are `size` bytes."""
        self.has_reserve = self.reserve.keep(size)

    def is_still_there(self):
        """Return whether nobody deleted or replaced the file; sqlite does not notice.

        Nor closed its descriptors, which is looked at first.
        """
        if not self.has_file:
            return True
        # A clock that was set back must not put off the next look for long.
        self._check_at = 0.0
        try:
            self.store.check()
        except errors.DatacatError as error:
            self.refused(error)
            return False
        if self.store.is_still_there(self._inode):
            self.store.renew_ownership()
            return True
        self._warn("deleted", _DELETED % self.path)
        self.reserve.free()
        self.enter(VANISHED, StoreRefused("the outbox %s was deleted" % self.path))
        return False

    # Ends

    def close(self):
        """Close the file."""
        if self.has_file:
            self.reserve.free()
        self.attempt(self.store.checkpoint, True)
        self.store.close()

    def delete(self):
        """Close the file and remove it."""
        self.reserve.free()
        self.store.delete()
