"""The only connection to an sqlite file, and what sqlite's errors mean.

Belongs here: `sqlite3`.  Does not: the statements themselves.  The caller makes sure that only one
thread at a time is here.
"""

from __future__ import absolute_import, division

import os
import sqlite3

from .._compat import is_finalizing, keep_forever, release_kept
from ..descriptors import Descriptors
from .ownership import Ownership
from .refusals import NumberTaken, StoreDamaged, StoreDetached, StoreHeld, StoreRefused

# UnicodeError: a damaged schema may contain names that are not UTF-8.  MemoryError: sqlite itself
# got no memory.
_ERRORS = (sqlite3.Error, UnicodeError, MemoryError)
# sqlite's own words: its error codes are available from Python 3.11 on only.
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


_DETACHED = (
    "another part of this program closed the file descriptors of the outbox %s (os.closerange? a "
    "library that makes daemons?); what waits in it is moved to a new file; close them before the "
    "first session is created"
)


class Connection(object):
    """A connection that holds its file exclusively.

    Methods that take `doing`, words for their errors such as "write to", raise StoreHeld,
    StoreDamaged or StoreRefused if sqlite fails.  All but `write` raise StoreDetached, and use the
    connection no more, if its descriptors are not sqlite's any longer.

    :ivar descriptors: the Descriptors that must stay open; empty until `watch`.
    :ivar ownership: the Ownership of the file.
    :ivar is_detached: whether they did not.
    :ivar is_closed: whether `close` was called, even if it was interrupted.
    :param path: the file.
    :raises StoreHeld: if another process owns it.
    """

    _cursor = ownership = None
    is_closed = is_detached = False

    def __init__(self, path):
        self._path = path
        self._process = os.getpid()
        self._is_in_transaction = False
        self.descriptors = Descriptors()
        self.ownership = Ownership(path)
        self.ownership.claim()
        try:
            connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
            # One cursor for statements without rows: each `Connection.execute` makes another.
            self._cursor = connection.cursor()
            # A forked child must not close it, not even when its interpreter ends.
            keep_forever(self._cursor)
            self._execute = connection.execute
            self._write = self._cursor.execute
            self._execute("PRAGMA locking_mode = EXCLUSIVE")
        except _ERRORS as error:
            self.close()
            raise self._translated(error, "open")

    def watch(self):
        """Sign for the file, which is ours now, and notice when its descriptors are closed."""
        self.ownership.sign()
        self.ownership.add_to(self.descriptors)
        for path in (self._path, self._path + "-wal"):
            self.descriptors.add_writers_of(path)

    def renew_ownership(self):
        """Make the companion anew if somebody has removed it."""
        self.ownership.renew(self.descriptors)

    def check(self):
        """Use the connection no more if its descriptors were closed.

        sqlite would write into a file of the application that has their numbers now, or close it.

        :raises StoreDetached: if they were.
        """
        if not self.descriptors.are_ours():
            self.is_detached = True
            self.abandon()
        if self.is_detached:
            raise StoreDetached(_DETACHED % self._path)

    def run(self, doing, step, *arguments):
        """Return `step(execute, ...)`, with sqlite's errors translated."""
        self.check()
        try:
            return step(self._execute, *arguments)
        except _ERRORS as error:
            raise self._translated(error, doing)

    def read_what_is_damaged(self):
        """Have sqlite read a file whose end was cut off."""
        self.fetch("open", "PRAGMA writable_schema = ON")

    def write(self, doing, statement, values):
        """Run one statement and commit it.

        :raises NumberTaken: if it inserts a key that exists already.
        """
        try:
            self._write(statement, values)
        except sqlite3.IntegrityError:
            raise NumberTaken("could not %s %s: the number is taken" % (doing, self._path))
        except _ERRORS as error:
            raise self._translated(error, doing)

    def together(self, doing, statements):
        """Run statements, pairs of SQL and values, in one transaction.

        Statements of an interrupting signal handler join the open transaction.

        :raises NumberTaken: if one inserts a key that exists already.
        """
        self.check()
        is_nested, is_done = self._is_in_transaction, False
        try:
            write = self._write
            if not is_nested:
                self._is_in_transaction = True
                write("BEGIN IMMEDIATE")
            for statement, values in statements:
                write(statement, values)
            if not is_nested:
                write("COMMIT")
            is_done = True
        except sqlite3.IntegrityError:
            raise NumberTaken("could not %s %s: the number is taken" % (doing, self._path))
        except _ERRORS as error:
            raise self._translated(error, doing)
        finally:
            # Also if a signal handler raised: the next statement must find no transaction.
            if not (is_done or is_nested):
                try:
                    self._write("ROLLBACK")
                except _ERRORS:
                    pass
            self._is_in_transaction = is_nested

    def script(self, doing, statement):
        """Run a statement to its end; `execute` steps one without rows only once."""
        self.check()
        try:
            self._cursor.executescript(statement)
        except _ERRORS as error:
            raise self._translated(error, doing)

    def fetch(self, doing, statement, values=()):
        """Return all rows of a statement, a list."""
        self.check()
        try:
            return self._execute(statement, values).fetchall()
        except _ERRORS as error:
            raise self._translated(error, doing)

    def read(self, doing, step, statement, values):
        """Return `step(rows)`, which need not take all rows of a statement."""
        self.check()
        try:
            cursor = self._execute(statement, values)
            try:
                return step(cursor)
            finally:
                # A statement that is not read to its end would block checkpoints.
                cursor.close()
        except _ERRORS as error:
            raise self._translated(error, doing)

    def rows_that_can_be_read(self, statement):
        """Yield the rows of a statement until sqlite finds damage."""
        self.check()
        try:
            for row in self._execute(statement):
                yield row
        except _ERRORS as error:
            # What cannot be read now may be readable later; it must not be taken for damage.
            if "locked" in str(error) or "I/O" in str(error):
                raise self._translated(error, "read")

    def _translated(self, error, doing):
        try:
            self.check()
        except StoreDetached as detached:
            return detached
        words = "out of memory" if isinstance(error, MemoryError) else str(error)
        # The header says read-only, but the disk is writable.
        forbidden = doing == "open" and "readonly" in words and os.access(self._path, os.W_OK)
        if "locked" in words:
            kind, then = StoreHeld, "another process owns it"
        elif forbidden or not words or any(part in words.lower() for part in _WORDS_OF_DAMAGE):
            kind, then = StoreDamaged, "what can be read of it is saved to a new one"
        else:
            kind, then = StoreRefused, "records wait in memory until it works again"
        return kind("could not %s the outbox %s: %s; %s" % (doing, self._path, words, then))

    def close(self):
        """Close the file; harmless when repeated."""
        self.is_closed = True
        if not self.descriptors.are_ours():
            self.is_detached = True
            self.abandon()
        cursor = self._cursor
        if cursor is not None:
            try:
                cursor.connection.close()
            except _ERRORS:
                pass
            # Not before: closing may be interrupted, and is then repeated.
            self._cursor = None
            release_kept(cursor)
        self.ownership.release()

    def __del__(self, is_finalizing=is_finalizing, getpid=os.getpid):
        """Release a file that was lost before anybody could close it.

        An interruption (Ctrl-C) can do that while an outbox is opened.  Not in a forked child, and
        not when the interpreter ends: there is no time then for a slow disk.
        """
        is_open = self._cursor is not None or not self.is_closed
        is_mine = self.ownership is not None and self._process == getpid()
        if is_open and is_mine and not is_finalizing():
            self.close()

    def abandon(self):
        """Never touch the connection again, not even at exit: one reference is kept for ever.

        In a forked child, closing it would remove the parent's write-ahead log.
        """
        self._cursor = None
        self._execute = self._write = _refuse
        self.ownership.abandon()


def _refuse(*_):
    raise sqlite3.ProgrammingError("the connection was given up")
