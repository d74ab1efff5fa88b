"""One outbox file: its sessions, records, states, dead letters and notes, read and written.

Belongs here: which statements make up one step.  Does not: locks, threads, waiting, or decisions
about records.  The caller makes sure that only one thread at a time is here.
"""

from __future__ import absolute_import, division

import errno
import functools
import os

from .. import errors
from .._compat import CAN_UNLINK_OPEN_FILES, monotonic
from . import preparing, salvage, tables
from .connection import Connection
from .ownership import OWNER
from .refusals import StoreDamaged
from .salvage import UNKNOWN_STATE
from .shared import SHARED
from .tables import NUMBER_BITS, NUMBER_MASK, identity

PAGE_RECORDS = 64
PAGE_BYTES = 256 * 1024
_GONE = (errno.ENOENT, errno.ENOTDIR)


class Store(object):
    """One open file.  Every method raises StoreRefused or StoreDamaged if sqlite fails.

    :param path: the file.
    :param power_safe: whether a commit waits until the disk has it (`durability="power"`).
    :param as_it_is: open a damaged file to salvage it, without checking it first.
    :raises StoreHeld, StoreTooNew, StoreDamaged, StoreRefused: if it cannot be opened.
    """

    is_in_memory = False
    is_final = False
    opening_seconds = 0.0

    def __init__(self, path, power_safe=False, as_it_is=False):
        self.path = path
        self.power_safe = power_safe
        self._open(as_it_is)

    def _open(self, as_it_is):
        began = monotonic()
        self._connection = connection = Connection(self.path)
        # Inserts one record, given as a row of the records table, and commits it.  Raises
        # NumberTaken if its session has a record of that number.
        self.insert = functools.partial(connection.write, "write to", tables.INSERT)
        self._together = connection.together
        self._fetch = connection.fetch
        self.check, self.descriptors = connection.check, connection.descriptors
        self.ownership, self.renew_ownership = connection.ownership, connection.renew_ownership
        try:
            if as_it_is:
                connection.read_what_is_damaged()
            else:
                connection.run("open", preparing.prepare, self.path, self.power_safe)
                connection.watch()
        except errors.DatacatError:
            self.close()
            raise
        self.opening_seconds = monotonic() - began

    def open_as_it_is(self):
        """Open it again after `close`, without checking it, to salvage it."""
        self.close()
        self._open(as_it_is=True)

    # Writing

    def add_session(self, entry):
        """Insert a session's row."""
        self._together("add a session to", [(tables.ADD_SESSION, tables.entry_row(entry))])

    def insert_all(self, several, replacing=False, changing=None):
        """Insert records in one transaction.

        :param replacing: whether they replace records that have their numbers.
        :param changing: has an `entry` to save in the same transaction and its `changes`, or None.
        :raises NumberTaken: if a number is taken, unless `replacing`.
        """
        statement = tables.REPLACE if replacing else tables.INSERT
        statements = [(statement, tables.record_row(record)) for record in several]
        if changing is not None:
            statements.append(_saving(changing.entry, changing.changes))
        self._together("write to", statements)

    def save(self, entry, state=None, burying=None, changes=None):
        """Save a session's row and delete its records that are out, in one transaction.

        :param state: bytes of the merged state as delivered, if it changed; b"" deletes it.
        :param burying: a DeadLetter to keep.
        :param changes: values to save instead of the entry's own, a dict.
        """
        statements = _deleting_what_is_out(entry)
        if state is not None:
            statements.append(_keeping(entry.number, state))
        if burying is not None:
            statements.append((tables.BURY, tables.letter_row(burying)))
        statements.append(_saving(entry, changes))
        self._together("settle a record in", statements)

    def sacrifice(self, entry, removing, replacing, changes):
        """Delete some of a session's records and replace others, in one transaction.

        :param removing: numbers of the records to delete.
        :param replacing: records that replace those with their numbers.
        :param changes: values to save instead of the entry's own, a dict; the entry keeps its own.
        """
        statements = [(tables.DELETE, (identity(entry.number, number),)) for number in removing]
        statements.extend((tables.REPLACE, tables.record_row(record)) for record in replacing)
        statements.append(_saving(entry, changes))
        self._together("make room in", statements)

    def settle_all(self, entries, states, letters, forgotten):
        """Write what happened while nothing could be written, in one transaction.

        :param entries: entries, whose records that are out are deleted.
        :param states: {session: bytes of its merged state}.
        :param letters: dead letters.
        :param forgotten: numbers of forgotten sessions.
        """
        statements = []
        for entry in entries:
            statements.extend(_deleting_what_is_out(entry))
            statements.append((tables.ADD_SESSION, tables.entry_row(entry)))
            statements.append(_saving(entry))
        statements.extend(_keeping(*pair) for pair in states.items())
        statements.extend((tables.BURY, tables.letter_row(letter)) for letter in letters)
        for number in forgotten:
            statements.extend(_forgetting(number))
        self._together("settle records in", statements)

    def forget_session(self, number):
        """Delete a session with its records and state."""
        self._together("remove a session from", _forgetting(number))

    def forget_dead(self, before, max_bytes):
        """Delete dead letters buried before a time (microseconds) or over a size, oldest first."""
        total, doomed = 0, []
        for key, buried, size in self._fetch("read", tables.SIZES_OF_LETTERS):
            total += size
            if buried < before or total > max_bytes:
                doomed.append((tables.DELETE_LETTER, (key,)))
        if doomed:
            self._together("remove dead letters from", doomed)

    def note(self, notes):
        """Keep texts under names (a dict)."""
        self._together("write to", [(tables.NOTE, pair) for pair in notes.items()])

    # Reading

    def notes(self):
        """Return the kept texts, a dict."""
        return dict(self._fetch("read", "SELECT name, value FROM notes"))

    def entries(self):
        """Return every session's Entry, oldest first, with counts that match its records.

        :raises StoreDamaged: if a row makes no sense.
        """
        entries = [tables.entry_of(row) for row in self._fetch("read", tables.SESSIONS)]
        if None in entries:
            raise StoreDamaged("the outbox %s has a damaged row of a session" % self.path)
        for entry in entries:
            last = self.last_number(entry.number)
            entry.accepted = max(entry.accepted, last)
            if last and entry.accepted <= entry.gone:
                # Records that no count includes would never be sent: correct the count.
                count = self._fetch("read", tables.COUNT, _range(entry.number))[0][0]
                entry.gone = entry.accepted - count
        return entries

    def last_number(self, session):
        """Return the number of the session's youngest record in the file, 0 if there is none."""
        found = self._fetch("read", tables.LAST, _range(session))
        return (found[0][0] or 0) & NUMBER_MASK

    def last_session(self):
        """Return the highest number that a session, a record or a dead letter has, or 0."""
        found = self._fetch("read", tables.LAST_SESSION)
        return max((row[0] or 0) for row in found) >> NUMBER_BITS

    def state(self, session):
        """Return the bytes of the session's merged state as delivered, or None."""
        found = self._fetch(
            "read", "SELECT session, checksum, body FROM states WHERE session = ?", (session,)
        )
        if not found:
            return None
        state = tables.state_of(found[0])
        return UNKNOWN_STATE if state is None else state

    def heads(self):
        """Return {session: (number, capture time)} of each session's first record."""
        found = self._fetch("read", tables.HEADS)
        return dict((key >> NUMBER_BITS, (key & NUMBER_MASK, captured)) for key, captured in found)

    def page(self, session, after, most=PAGE_RECORDS):
        """Return the session's next records after a number: (records, numbers of damaged ones).

        The damaged ones are those before the records; one after a record ends the page.

        :param most: how many records at most.  A page ends at 256 KiB, but not before one record.
        """
        where = _range(session, after + 1) + (most,)
        return self._connection.read("read", _sound_rows, tables.PAGE, where)

    def outline(self, session, after, limit):
        """Return up to `limit` (number, kind, bytes) of the session's records after a number."""
        found = self._fetch(
            "read",
            "SELECT id, kind, length(body) FROM records"
            " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            _range(session, after + 1) + (limit,),
        )
        return [(row[0] & NUMBER_MASK, tables.kind_of(row[1]), row[2]) for row in found]

    def dead_letters(self):
        """Return every dead letter that is sound, oldest first."""
        letters = [tables.letter_of(row) for row in self._fetch("read", tables.LETTERS)]
        return [letter for letter in letters if letter is not None]

    def salvage(self):
        """Return what can still be read: (entries, {session: state}, records, dead letters)."""
        return salvage.salvage(self._connection.rows_that_can_be_read)

    # The file

    def size(self):
        """Return how many bytes of pages are in use, without the free ones."""
        return (self._pages("page_count") - self._pages("freelist_count")) * preparing.PAGE_SIZE

    def growth(self):
        """Return how many bytes a checkpoint may add to the file."""
        size = self._pages("page_count") * preparing.PAGE_SIZE
        try:
            return max(0, size - os.path.getsize(self.path))
        except OSError:
            return 0

    def _pages(self, which):
        return self._fetch("measure", "PRAGMA " + which)[0][0]

    def checkpoint(self, is_last=False):
        """Move the write-ahead log into the database and truncate it.

        :param is_last: whether nothing more will be written.
        """
        self._fetch("checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)")
        if not is_last:
            self._begin_log()

    def restart_log(self):
        """Move the write-ahead log into the database; it is then written over from its start.

        Not truncated: writing over what is there takes a quarter less time than growing a file.
        """
        self._fetch("checkpoint", "PRAGMA wal_checkpoint(PASSIVE)")
        self._begin_log()

    def _begin_log(self):
        """Write something, because the first write at the start of a log waits for a sync.

        Don't let a log call pay for it.  If this fails, the next write meets the same error.
        """
        try:
            self._fetch("write to", "PRAGMA user_version = %d" % tables.SCHEMA_VERSION)
        except errors.DatacatError:
            pass

    def shrink(self, pages):
        """Return up to `pages` free pages to the disk; return whether any are left."""
        self._connection.script("shrink", "PRAGMA incremental_vacuum(%d)" % pages)
        return self._pages("freelist_count") > 0

    def close(self):
        """Close the file; harmless when repeated."""
        self._connection.close()

    @property
    def is_detached(self):
        """Whether another part of this process closed its descriptors (see `Connection.check`)."""
        return self._connection.is_detached

    @property
    def is_closed(self):
        """Whether `close` was called, even if it was interrupted."""
        return self._connection.is_closed

    def delete(self):
        """Close the file and remove it."""
        # Removed first, if the system allows it: once closed, another process could claim it.
        if CAN_UNLINK_OPEN_FILES:
            remove_files(self.path)
        self.close()
        remove_files(self.path)

    def abandon(self):
        """In a forked child: never touch the file again (see `Connection.abandon`)."""
        self._connection.abandon()

    def probe(self):
        """Read what is needed first.

        :raises StoreDamaged: if it makes no sense.
        """
        self.entries()
        self.last_session()
        self.size()

    def is_still_there(self, inode):
        """Return whether the path still names the file with this inode, and its log exists.

        One that cannot be looked at, such as in a folder whose mode forbids it, counts as there.
        """
        try:
            os.stat(self.path + "-wal")
            return os.stat(self.path).st_ino == inode
        except OSError as error:
            return error.errno not in _GONE


def _sound_rows(rows):
    """Return the first sound records of some rows, and the numbers of damaged ones before them."""
    found, damaged, size = [], [], 0
    for row in rows:
        record = tables.record_of(row)
        if record is not None:
            found.append(record)
            size += len(record.body)
        elif not found:
            damaged.append(row[0] & NUMBER_MASK)
        if size > PAGE_BYTES or (found and record is None):
            break
    return found, damaged


def _range(session, first=0):
    return identity(session, first), identity(session, NUMBER_MASK)


def _saving(entry, changes=None):
    """Return the statement that saves an entry, with `changes` instead of its own values."""
    if not changes:
        return tables.SAVE, tables.saved_values(entry)
    return tables.SAVE, tuple(changes.get(name, getattr(entry, name)) for name in tables.TO_SAVE)


def _deleting_what_is_out(entry):
    first = entry.number << NUMBER_BITS
    statements = [(tables.DELETE_RANGE, (first, first | entry.position))]
    statements.extend((tables.DELETE, (first | number,)) for number in entry.ahead)
    return statements


def _keeping(session, state):
    if not state:
        return "DELETE FROM states WHERE session = ?", (session,)
    return tables.KEEP_STATE, tables.state_row(session, state)


def _forgetting(number):
    return [
        (tables.DELETE_RANGE, _range(number)),
        ("DELETE FROM states WHERE session = ?", (number,)),
        ("DELETE FROM sessions WHERE number = ?", (number,)),
    ]


def remove_files(path):
    """Remove an outbox and what belongs to it; harmless if it is not there."""
    for ending in ("", "-wal", "-shm", SHARED, OWNER):
        try:
            os.remove(path + ending)
        except OSError:
            continue
