"""One sqlite file: its schema and all the SQL of the library.

What may live here: statements, and what sqlite's errors mean.  What may not: locks, threads,
waiting, or a decision about a record.  The caller makes sure that one thread at a time is here.
"""

from __future__ import absolute_import, division

import os
import sqlite3
from timeit import default_timer as clock

from .. import errors
from .._compat import CAN_UNLINK_OPEN_FILES, keep_for_ever, let_go
from . import salvage, tables
from .salvage import UNKNOWN_STATE
from .tables import KINDS, NUMBER_BITS, NUMBER_MASK, identity

IN_MEMORY = ":memory:"
SHARED = "-shared"
PAGE_RECORDS = 64
PAGE_BYTES = 256 * 1024
# A damaged schema may name things in what is not UTF-8, and Python's sqlite3 then says that;
# where sqlite itself gets no memory, it raises MemoryError.
_ERRORS = (sqlite3.Error, UnicodeError, MemoryError)
# Smaller ones waste a seventh of the file on records of 150 bytes, larger ones write more wal.
_PAGE_SIZE = 2048
# What can be checked, whenever it is opened, in about 20 ms.
_CHECKED_BYTES = 16 * 1024 * 1024
_CACHE_KIB = 512
_CODES = frozenset(range(len(KINDS)))
# sqlite's own words, for its error codes can be had from Python 3.11 on only.
_WORDS_OF_DAMAGE = (
    "malformed",
    "not a database",
    "no such",
    "has no column",
    "syntax error",
    "unsupported file format",
    "decode",
    "already exists",
)


class StoreHeld(errors.DatacatError):
    """Another process (or this one) has the file open."""

    retriable = True


class StoreDamaged(errors.DatacatError):
    """The file is not a sqlite database, or is one that sqlite finds malformed."""


class StoreTooNew(errors.DatacatError):
    """The file was written by a newer datacat; it is left alone."""


class NumberTaken(errors.DatacatError):
    """The session already has a record of this number."""


class StoreRefused(errors.DatacatError):
    """The disk does not take or give the data: full, read-only, an I/O error."""

    retriable = True


class Store(object):
    """One open file.  Every method raises StoreRefused or StoreDamaged where sqlite fails.

    :param path: the file.
    :param power_safe: whether a commit waits until the disk has it (`durability="power"`).
    :param as_it_is: open a damaged file to salvage it, without looking at it first.

    Opening raises StoreHeld, StoreTooNew, StoreDamaged or StoreRefused.
    """

    is_in_memory = False
    opening_seconds = 0.0

    def __init__(self, path, power_safe=False, as_it_is=False):
        began = clock()
        self.path = path
        self._writing = None
        try:
            connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
            # One cursor for what gives no rows: each `Connection.execute` makes another.
            self._writing = connection.cursor()
            # A forked child that never touches it must not close it when its interpreter ends.
            keep_for_ever(self._writing)
            self._execute = connection.execute
            self._write = self._writing.execute
            self._execute("PRAGMA locking_mode = EXCLUSIVE")
            if as_it_is:
                # Without it sqlite reads nothing of a file whose end was cut off.
                self._execute("PRAGMA writable_schema = ON")
            else:
                self._prepare(power_safe)
        except _ERRORS as error:
            self.close()
            raise self._translated(error, "open")
        except errors.DatacatError:
            self.close()
            raise
        self.opening_seconds = clock() - began

    def _prepare(self, power_safe):
        execute = self._execute
        # Settings that read the file come after the exclusive lock is asked for: the first read
        # takes it, and from then on the lock proves that this process lives.
        version = execute("PRAGMA user_version").fetchone()[0]
        if version > tables.SCHEMA_VERSION:
            raise StoreTooNew(
                "the outbox %s has schema %d and this datacat knows %d: it is left alone; "
                "upgrade datacat to send what is in it"
                % (self.path, version, tables.SCHEMA_VERSION)
            )
        if version == 0:
            execute("PRAGMA page_size = %d" % _PAGE_SIZE)
            execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = %s" % ("FULL" if power_safe else "NORMAL"))
        execute("PRAGMA wal_autocheckpoint = 0")
        execute("PRAGMA cache_size = -%d" % _CACHE_KIB)
        execute("BEGIN IMMEDIATE")
        statements = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        if version == 0 and execute(statements).fetchone() is None:
            self._create(execute)
        elif (
            execute("PRAGMA application_id").fetchone()[0] != tables.APPLICATION_ID
            or set(row[0] for row in execute(statements)) != set(tables.SCHEMA)
            or not self._is_sound()
        ):
            raise StoreDamaged(
                "%s is a sqlite database, but not a sound outbox; it is set aside" % self.path
            )
        execute("COMMIT")

    def _is_sound(self):
        # One row with a wrong number leads every search astray that passes it.
        return (
            self.size() > _CHECKED_BYTES
            or self._execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        )

    @staticmethod
    def _create(execute):
        for statement in tables.SCHEMA:
            execute(statement)
        execute("PRAGMA application_id = %d" % tables.APPLICATION_ID)
        execute("PRAGMA user_version = %d" % tables.SCHEMA_VERSION)

    def _translated(self, error, doing):
        words = "out of memory" if isinstance(error, MemoryError) else str(error)
        # A header that forbids writing, on a disk that does not.
        forbidden = doing == "open" and "readonly" in words and os.access(self.path, os.W_OK)
        if "locked" in words:
            kind, then = StoreHeld, "another process owns it"
        elif forbidden or not words or any(part in words.lower() for part in _WORDS_OF_DAMAGE):
            kind, then = StoreDamaged, "it is set aside and what can be read of it is saved"
        else:
            kind, then = StoreRefused, "records wait in memory until it works again"
        return kind("could not %s the outbox %s: %s; %s" % (doing, self.path, words, then))

    def _roll_back(self):
        try:
            self._write("ROLLBACK")
        except _ERRORS:
            pass

    def _together(self, doing, statements):
        done = False
        try:
            write = self._write
            write("BEGIN IMMEDIATE")
            for statement, values in statements:
                write(statement, values)
            write("COMMIT")
            done = True
        except sqlite3.IntegrityError:
            raise NumberTaken(
                "could not %s %s: a record of that number is there" % (doing, self.path)
            )
        except _ERRORS as error:
            raise self._translated(error, doing)
        finally:
            # Also where a signal handler raised: the next statement must find no transaction.
            if not done:
                self._roll_back()

    def _fetch(self, doing, statement, values=()):
        try:
            return self._execute(statement, values).fetchall()
        except _ERRORS as error:
            raise self._translated(error, doing)

    # Writing

    def add_session(self, entry):
        """Insert a session's row."""
        self._together("add a session to", [(tables.ADD_SESSION, tables.entry_row(entry))])

    def insert(self, record, entry=None):
        """Insert one record and commit it.

        :param entry: its session's, saved in the same transaction where it is given.
        :raises NumberTaken: where the session has a record of that number.
        """
        if entry is not None:
            self._together("write to", [(tables.INSERT, tables.row_of(record)), _saving(entry)])
            return
        try:
            self._write(tables.INSERT, tables.row_of(record))
        except sqlite3.IntegrityError:
            raise NumberTaken("session %d has a record %d" % (record.session, record.number))
        except _ERRORS as error:
            self._roll_back()
            raise self._translated(error, "write to")

    def insert_all(self, several, replacing=False):
        """Insert records in one transaction.

        :param replacing: put them in the place of those that have their numbers.
        :raises NumberTaken: where one is there already, and they are not to replace it.
        """
        statement = tables.REPLACE if replacing else tables.INSERT
        self._together("write to", [(statement, tables.row_of(record)) for record in several])

    def save(self, entry, state=None, removing=(), burying=None, replacing=()):
        """Save a session's row, and in the same transaction all that goes with it.

        :param state: bytes of the merged state as delivered, where it changed; b"" forgets it.
        :param removing: numbers of the session's records to delete.
        :param burying: a DeadLetter to keep.
        :param replacing: records to put in the place of those that have their numbers.
        """
        statements = [(tables.DELETE, (identity(entry.number, number),)) for number in removing]
        statements.extend((tables.REPLACE, tables.row_of(record)) for record in replacing)
        if state is not None:
            statements.append(_keeping(entry.number, state))
        if burying is not None:
            statements.append((tables.BURY, tables.letter_row(burying)))
        statements.append(_saving(entry))
        self._together("settle a record in", statements)

    def settle_all(self, settled, states, letters, forgotten):
        """Write what happened while nothing could be written, in one transaction.

        :param settled: pairs of an entry and the number up to which its records are out.
        :param states: {session: bytes of its merged state}.
        :param letters: dead letters.
        :param forgotten: numbers of sessions that are no more.
        """
        statements = []
        for entry, number in settled:
            statements.append(
                (tables.DELETE_RANGE, (identity(entry.number, 0), identity(entry.number, number)))
            )
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
        found = self._fetch(
            "read", "SELECT id, buried, length(body) FROM dead ORDER BY buried DESC, id DESC"
        )
        total, doomed = 0, []
        for identity_, buried, size in found:
            total += size
            if buried < before or total > max_bytes:
                doomed.append(("DELETE FROM dead WHERE id = ?", (identity_,)))
        if doomed:
            self._together("remove dead letters from", doomed)

    def note(self, name, value):
        """Keep a text under a name."""
        self._together(
            "write to",
            [("INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)", (name, value))],
        )

    # Reading

    def notes(self):
        """Return the kept texts, a dict."""
        return dict(self._fetch("read", "SELECT name, value FROM notes"))

    def entries(self):
        """Return every session's Entry, oldest first, with `accepted` as the records prove it.

        :raises StoreDamaged: where a row makes no sense.
        """
        entries = [tables.entry_of(row) for row in self._fetch("read", tables.SESSIONS)]
        if None in entries:
            raise StoreDamaged("%s has a session that makes no sense" % self.path)
        for entry in entries:
            last = self.last_number(entry.number)
            entry.accepted = max(entry.accepted, last)
            if last and entry.numbered <= 0:
                # Records without a count would never be sent: the counts are what is damaged.
                entry.accepted += self._count(entry.number) - entry.numbered
        return entries

    def _count(self, session):
        return self._fetch(
            "read", "SELECT count(*) FROM records WHERE id BETWEEN ? AND ?", _range(session)
        )[0][0]

    def last_number(self, session):
        """Return the number of the session's youngest record in the file, 0 without one."""
        found = self._fetch(
            "read", "SELECT max(id) FROM records WHERE id BETWEEN ? AND ?", _range(session)
        )
        return (found[0][0] or 0) & NUMBER_MASK

    def last_session(self):
        """Return the highest number that a session, a record or a dead letter has, or 0."""
        found = self._fetch(
            "read",
            "SELECT max(number) << %d FROM sessions UNION ALL"
            " SELECT max(id) FROM records UNION ALL SELECT max(id) FROM dead" % NUMBER_BITS,
        )
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

    def page(self, session, after):
        """Return the session's next records after a number: (records, numbers that were damaged).

        A page is 64 records or 256 KiB, whichever is less, and one record at least.
        """
        found, damaged, size = [], [], 0
        try:
            cursor = self._execute(
                tables.RECORDS + " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT %d" % PAGE_RECORDS,
                _range(session, after + 1),
            )
            for row in cursor:
                record = tables.record_of(row)
                if record is None:
                    damaged.append(row[0] & NUMBER_MASK)
                    continue
                found.append(record)
                size += len(record.body)
                if size > PAGE_BYTES:
                    break
            cursor.close()
        except _ERRORS as error:
            raise self._translated(error, "read")
        return found, damaged

    def short_bodies(self, session, numbers, kind, longest):
        """Return the bodies of those of the session's records that are of a kind and so short."""
        found = self._fetch(
            "read",
            tables.RECORDS + " WHERE id BETWEEN ? AND ? AND kind = ?" " AND length(body) <= ?",
            (
                identity(session, min(numbers)),
                identity(session, max(numbers)),
                tables.KIND_CODES[kind],
                longest,
            ),
        )
        wanted = set(numbers)
        sound = [record for record in map(tables.record_of, found) if record is not None]
        return [record.body for record in sound if record.number in wanted]

    def outline(self, session, after, limit):
        """Return up to `limit` (number, kind, bytes) of the session's records after a number."""
        found = self._fetch(
            "read",
            "SELECT id, kind, length(body) FROM records"
            " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            _range(session, after + 1) + (limit,),
        )
        return [
            (row[0] & NUMBER_MASK, KINDS[row[1]] if row[1] in _CODES else None, row[2])
            for row in found
        ]

    def dead_letters(self):
        """Return every dead letter that is sound, oldest first."""
        letters = [tables.letter_of(row) for row in self._fetch("read", tables.LETTERS)]
        return [letter for letter in letters if letter is not None]

    def has_dead_letters(self):
        """Return whether there is any."""
        return bool(self._fetch("read", "SELECT 1 FROM dead LIMIT 1"))

    def salvage(self):
        """Return what can still be read: (entries, {session: state}, records, dead letters)."""
        return salvage.salvage(self._tolerantly)

    def _tolerantly(self, statement):
        """Yield rows until sqlite refuses."""
        try:
            for row in self._execute(statement):
                yield row
        except _ERRORS as error:
            # What cannot be read now may be read later; it must not be taken for damage.
            if "locked" in str(error) or "I/O" in str(error):
                raise self._translated(error, "read")

    def refill(self, salvaged):
        """Write what `salvage` returned into this (new) file."""
        entries, states, intact, letters = salvaged
        self.settle_all([(entry, 0) for entry in entries], states, letters, ())
        self.insert_all(intact)

    # The file

    def size(self):
        """Return how many bytes of pages are in use, without the free ones."""
        try:
            pages = self._execute("PRAGMA page_count").fetchone()[0]
            free = self._execute("PRAGMA freelist_count").fetchone()[0]
        except _ERRORS as error:
            raise self._translated(error, "measure")
        return (pages - free) * _PAGE_SIZE

    def growth(self):
        """Return how many bytes a checkpoint may add to the file."""
        try:
            pages = self._execute("PRAGMA page_count").fetchone()[0]
            return max(0, pages * _PAGE_SIZE - os.path.getsize(self.path))
        except _ERRORS as error:
            raise self._translated(error, "measure")
        except OSError:
            return 0

    def checkpoint(self, is_last=False):
        """Move the write-ahead log into the database and cut it to nothing.

        :param is_last: whether nothing will be written any more.
        """
        self._fetch("checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)")
        if not is_last:
            self._begin_log()

    def _begin_log(self):
        """Write what is there already: the first write into an empty log waits for a sync.

        It shall not be a log call's. Where this fails, the next write will meet the same.
        """
        try:
            self._write("PRAGMA user_version = %d" % tables.SCHEMA_VERSION)
        except _ERRORS:
            pass

    def shrink(self, pages):
        """Return up to `pages` free pages to the disk; return whether any stay."""
        try:
            # `execute` steps once, which frees one page.
            self._writing.executescript("PRAGMA incremental_vacuum(%d)" % pages)
            return self._execute("PRAGMA freelist_count").fetchone()[0] > 0
        except _ERRORS as error:
            raise self._translated(error, "shrink")

    def close(self):
        """Close the file; harmless when repeated."""
        cursor, self._writing = self._writing, None
        if cursor is not None:
            try:
                cursor.connection.close()
            except _ERRORS:
                pass
            let_go(cursor)

    def delete(self):
        """Close the file and remove it."""
        # Removed first where that can be done: closed first, another process could claim it.
        if CAN_UNLINK_OPEN_FILES:
            _unlink(self.path)
        self.close()
        _unlink(self.path)

    def abandon(self):
        """Never touch the connection again, not even when the interpreter ends.

        For a forked child: closing there would remove the parent's write-ahead log.
        """
        self._writing = self._execute = self._write = None

    def probe(self):
        """Read what is needed first; raises StoreDamaged where it makes no sense."""
        self.entries()
        self.last_session()
        self.size()

    def is_still_there(self, inode):
        """Return whether the path still names the file with this inode, and its log is there."""
        try:
            return os.stat(self.path).st_ino == inode and os.path.exists(self.path + "-wal")
        except OSError:
            return False


class NoStore(object):
    """Stands in for a Store where no file can be had: it refuses every write."""

    path = IN_MEMORY
    is_in_memory = True
    opening_seconds = 0.0

    def __init__(self, reason):
        self._reason = reason

    def _refuse(self, *_, **__):
        raise StoreRefused(
            "records wait in memory only and die with the process: %s" % self._reason
        )

    add_session = insert = insert_all = save = settle_all = forget_session = forget_dead = _refuse
    note = checkpoint = page = outline = last_number = salvage = has_dead_letters = _refuse

    def _nothing(self, *_):
        return None

    state = close = delete = abandon = _nothing

    def entries(self):
        """Return no sessions."""
        return []

    dead_letters = entries

    def notes(self):
        """Return no notes."""
        return {}

    def size(self):
        """Return 0."""
        return 0

    last_session = size


def _range(session, first=0):
    return identity(session, first), identity(session, NUMBER_MASK)


def _saving(entry):
    return tables.SAVE, tables.saved_values(entry)


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


def _unlink(path):
    for name in (path, path + "-wal", path + "-shm", path + SHARED):
        try:
            os.remove(name)
        except OSError:
            continue
