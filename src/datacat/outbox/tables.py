"""The tables of an outbox: their SQL as text, what their rows mean, and how damage shows.

Belongs here: statements, and plain values made from rows and into rows.  Does not: running SQL,
files.
"""

from __future__ import absolute_import, division

import collections
import operator
import struct
import zlib

import six

from .._compat import blob
from ..records import kinds

NUMBER_BITS = 40
NUMBER_MASK = (1 << NUMBER_BITS) - 1

KINDS = (
    kinds.OPEN,
    kinds.STATE,
    kinds.EVENT,
    kinds.METRIC,
    kinds.EXCEPTION,
    kinds.END,
    kinds.CRASH,
)
KIND_CODES = dict((kind, code) for code, kind in enumerate(KINDS))

_COUNTS = (
    "shared",
    "restoring",
    "accepted",
    "sent",
    "events",
    "metrics",
    "dead",
    "dropped",
    "merged",
    "possibly_twice",
    "unreported",
)
SAVED = ("server_id", "goodbye", "hung") + _COUNTS
COLUMNS = ("number", "local_id", "opening", "opened", "inherited") + SAVED

_pack = struct.Struct(">qqq").pack

DeadLetter = collections.namedtuple("DeadLetter", "record status words buried")

APPLICATION_ID = 0x0DA7ACA7
SCHEMA_VERSION = 1

SCHEMA = (
    "CREATE TABLE records (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL,"
    " captured INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE sessions (number INTEGER PRIMARY KEY, local_id TEXT NOT NULL UNIQUE,"
    " opening BLOB NOT NULL, opened INTEGER NOT NULL, inherited INTEGER NOT NULL,"
    " server_id TEXT, goodbye TEXT, hung INTEGER, shared INTEGER NOT NULL,"
    " restoring INTEGER NOT NULL, accepted INTEGER NOT NULL, sent INTEGER NOT NULL,"
    " events INTEGER NOT NULL, metrics INTEGER NOT NULL, dead INTEGER NOT NULL,"
    " dropped INTEGER NOT NULL, merged INTEGER NOT NULL, possibly_twice INTEGER NOT NULL,"
    " unreported INTEGER NOT NULL)",
    "CREATE TABLE states (session INTEGER PRIMARY KEY, checksum INTEGER NOT NULL,"
    " body BLOB NOT NULL)",
    "CREATE TABLE dead (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, captured INTEGER NOT NULL,"
    " checksum INTEGER NOT NULL, body BLOB NOT NULL, status INTEGER, words TEXT,"
    " buried INTEGER NOT NULL)",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)

INSERT = "INSERT INTO records (id, kind, captured, checksum, body) VALUES (?, ?, ?, ?, ?)"
REPLACE = INSERT.replace("INSERT", "INSERT OR REPLACE", 1)
RECORDS = "SELECT id, kind, captured, checksum, body FROM records"
DELETE = "DELETE FROM records WHERE id = ?"
DELETE_RANGE = "DELETE FROM records WHERE id BETWEEN ? AND ?"
SAVE = "UPDATE sessions SET %s WHERE number = ?" % ", ".join(name + " = ?" for name in SAVED)
ADD_SESSION = "INSERT OR IGNORE INTO sessions (%s) VALUES (%s)" % (
    ", ".join(COLUMNS),
    ", ".join("?" * len(COLUMNS)),
)
SESSIONS = "SELECT %s FROM sessions ORDER BY number" % ", ".join(COLUMNS)
KEEP_STATE = "INSERT OR REPLACE INTO states (session, checksum, body) VALUES (?, ?, ?)"
BURY = (
    "INSERT OR REPLACE INTO dead (id, kind, captured, checksum, body, status, words, buried)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
LETTERS = (
    "SELECT id, kind, captured, checksum, body, status, words, buried FROM dead"
    " ORDER BY buried, id"
)


class Entry(object):
    """A row of the sessions table, kept in memory as long as its file is open.

    Not stored are `refusal`, the error with which the server refused to open the session,
    `aside`, calls that found the outbox busy and are not numbered yet, `in_hand`, those of them
    that are being written, and `in_hand_after`, the number before the first of these.
    """

    def __init__(self, **columns):
        self.refusal = None
        self.aside = collections.deque()
        self.in_hand = []
        self.in_hand_after = 0
        self.hung = self.server_id = self.goodbye = None
        self.inherited = self.shared = self.restoring = 0
        self.accepted = self.sent = self.events = self.metrics = 0
        self.dead = self.dropped = self.merged = self.possibly_twice = self.unreported = 0
        for name, value in columns.items():
            setattr(self, name, value)
        self.opening = bytes(self.opening)

    @property
    def waiting(self):
        """How many records are accepted and neither sent nor given up."""
        # In the order in which records become one from the other, so that none is overlooked.
        return self.unnumbered + self.numbered

    @property
    def unnumbered(self):
        """How many of those that wait have no number yet, and are in memory alone."""
        return len(self.aside) + len(self.in_hand)

    @property
    def numbered(self):
        """How many of those that wait have their number already."""
        return self.accepted - self.sent - self.dead - self.dropped - self.merged

    @property
    def is_over(self):
        """Whether it said goodbye and all that became of it is told."""
        return bool(self.goodbye) and self.waiting <= 0 and not (self.unreported or self.restoring)


def _content(body):
    """Return the bytes of a BLOB; in a damaged row anything may stand in its place."""
    if body is None or isinstance(body, (six.text_type, float) + six.integer_types):
        raise TypeError("not a BLOB")
    return bytes(body)


def identity(session, number):
    """Return a record's id: its session's number and, below it, its own number.

    So one b-tree keeps each session's records together and in order without an index.
    """
    return session << NUMBER_BITS | number


def checksum(identity, kind, captured, body):
    """Return the CRC-32 that a row must carry; sqlite does not notice flipped bytes itself."""
    return zlib.crc32(body, zlib.crc32(_pack(identity, captured, kind))) & 0xFFFFFFFF


def row_of(record):
    """Return a record as a row of the records table."""
    session, number, kind, body, captured = record
    identity = session << NUMBER_BITS | number
    code = KIND_CODES[kind]
    return identity, code, captured, checksum(identity, code, captured, body), blob(body)


def record_of(row):
    """Return a row of the records table as a record, or None where it is damaged."""
    identity, code, captured, stored, body = row
    try:
        body = _content(body)
        if checksum(identity, code, captured, body) == stored:
            return _named(identity, code, captured, body)
    except (TypeError, IndexError, ValueError, struct.error):
        pass
    return None


def _named(identity, code, captured, body):
    return kinds.Record(
        identity >> NUMBER_BITS, identity & NUMBER_MASK, KINDS[code], body, captured
    )


def letter_row(letter):
    """Return a dead letter as a row of the dead table."""
    words = letter.words
    if isinstance(words, bytes):
        words = words.decode("utf-8", "replace")
    elif words is not None:
        words = words.encode("utf-8", "replace").decode("utf-8", "replace")
    return row_of(letter.record) + (letter.status, words, letter.buried)


def letter_of(row):
    """Return a row of the dead table as a dead letter, or None where it is damaged."""
    record = record_of(row[:5])
    status, words, buried = row[5:]
    if record is None or not isinstance(buried, six.integer_types):
        return None
    return DeadLetter(record, status, words, buried)


def state_row(session, state):
    """Return a merged state as a row of the states table."""
    return session, zlib.crc32(state, session) & 0xFFFFFFFF, blob(state)


def state_of(row):
    """Return the bytes of a row of the states table, or None where it is damaged."""
    session, stored, body = row
    try:
        body = _content(body)
        return body if zlib.crc32(body, session) & 0xFFFFFFFF == stored else None
    except (TypeError, ValueError):
        return None


def entry_row(entry):
    """Return a session as a row of the sessions table."""
    return tuple(
        blob(entry.opening) if name == "opening" else getattr(entry, name) for name in COLUMNS
    )


def entry_of(row):
    """Return a row of the sessions table as an Entry, or None where it is damaged."""
    columns = dict(zip(COLUMNS, row))
    counts = [columns[name] for name in _COUNTS + ("number", "opened", "inherited")]
    texts = [columns[name] for name in ("server_id", "goodbye")]
    sound = (
        all(isinstance(count, six.integer_types) and count >= 0 for count in counts)
        and all(text is None or isinstance(text, six.text_type) for text in texts)
        and isinstance(columns["local_id"], six.text_type)
    )
    try:
        columns["opening"] = _content(columns["opening"])
    except TypeError:
        return None
    return Entry(**columns) if sound else None


# Returns what of a session changes, in the order of SAVED, and its number.
saved_values = operator.attrgetter(*(SAVED + ("number",)))
