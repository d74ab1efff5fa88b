"""The tables of an outbox: their SQL, what their rows mean, and how damage is noticed.

Belongs here: statements, and converting values to rows and back.  Does not: running SQL, files.
"""

from __future__ import absolute_import, division

import collections
import operator
import struct
from zlib import crc32

import six

from .._compat import blob
from ..records import kinds
from .entry import COLUMNS, COUNTS, SAVED, Entry

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
    kinds.REPORT,
)
_KIND_CODES = dict((kind, code) for code, kind in enumerate(KINDS))
# A row's `kind` has the kind's code in its lowest byte, and the record's digits above it.
_DIGITS_SHIFT, _KIND_MASK = 8, 0xFF

_pack = struct.Struct(">qqq").pack

DeadLetter = collections.namedtuple("DeadLetter", "record status words buried")

APPLICATION_ID = 0x0DA7ACA7
SCHEMA_VERSION = 4

SCHEMA = (
    "CREATE TABLE records (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL,"
    " captured INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE sessions (number INTEGER PRIMARY KEY, local_id TEXT NOT NULL UNIQUE,"
    " opening BLOB NOT NULL, opened INTEGER NOT NULL, inherited INTEGER NOT NULL,"
    " server_id TEXT, goodbye TEXT, hung INTEGER, shared INTEGER NOT NULL,"
    " restoring INTEGER NOT NULL, accepted INTEGER NOT NULL, gone INTEGER NOT NULL,"
    " sent INTEGER NOT NULL, events INTEGER NOT NULL, metrics INTEGER NOT NULL,"
    " dead INTEGER NOT NULL,"
    " dropped INTEGER NOT NULL, merged INTEGER NOT NULL, possibly_twice INTEGER NOT NULL,"
    " unreported INTEGER NOT NULL, overtaken INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE states (session INTEGER PRIMARY KEY, checksum INTEGER NOT NULL,"
    " body BLOB NOT NULL)",
    "CREATE TABLE dead (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, captured INTEGER NOT NULL,"
    " checksum INTEGER NOT NULL, body BLOB NOT NULL, status INTEGER, words TEXT,"
    " buried INTEGER NOT NULL)",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)

_OLD_SESSIONS = (
    "number, local_id, opening, opened, inherited, server_id, goodbye, hung, shared, restoring,"
    " accepted, %s, sent, events, metrics, dead, dropped, merged, possibly_twice, unreported"
)

# The statements that bring an outbox from a schema to the next: {version: statements}.
MIGRATIONS = {
    1: (
        "ALTER TABLE sessions RENAME TO old_sessions",
        SCHEMA[1],
        "INSERT INTO sessions (%s) SELECT %s FROM old_sessions"
        % (_OLD_SESSIONS % "gone", _OLD_SESSIONS % "sent + dead + dropped + merged"),
        "DROP TABLE old_sessions",
    ),
    # Rows have digits from then on, which older versions would take for damage.
    2: (),
    3: (
        "ALTER TABLE sessions RENAME TO old_sessions",
        SCHEMA[1],
        "INSERT INTO sessions (%s) SELECT %s FROM old_sessions"
        % (_OLD_SESSIONS % "gone", _OLD_SESSIONS % "gone"),
        "DROP TABLE old_sessions",
    ),
}

INSERT = "INSERT INTO records (id, kind, captured, checksum, body) VALUES (?, ?, ?, ?, ?)"
REPLACE = INSERT.replace("INSERT", "INSERT OR REPLACE", 1)
RECORDS = "SELECT id, kind, captured, checksum, body FROM records"
PAGE = RECORDS + " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
DELETE = "DELETE FROM records WHERE id = ?"
DELETE_RANGE = "DELETE FROM records WHERE id BETWEEN ? AND ?"
# The attributes of an entry that SAVE needs.
TO_SAVE = SAVED + ("number",)
saved_values = operator.attrgetter(*TO_SAVE)
SAVE = "UPDATE sessions SET %s WHERE number = ?" % ", ".join(name + " = ?" for name in SAVED)
ADD_SESSION = "INSERT OR IGNORE INTO sessions (%s) VALUES (%s)" % (
    ", ".join(COLUMNS),
    ", ".join("?" * len(COLUMNS)),
)
SESSIONS = "SELECT %s FROM sessions ORDER BY number" % ", ".join(COLUMNS)
# The sessions of an outbox of an older schema, for salvage.
OLD_SESSIONS = "SELECT %s, 0 FROM sessions ORDER BY number" % (
    _OLD_SESSIONS % "sent + dead + dropped + merged"
)
HEADS = (
    "SELECT records.id, records.captured FROM sessions JOIN records ON records.id ="
    " (SELECT min(id) FROM records WHERE id BETWEEN (sessions.number << %d) + 1"
    " AND (sessions.number << %d) + %d)" % (NUMBER_BITS, NUMBER_BITS, NUMBER_MASK)
)
NOTE = "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)"
COUNT = "SELECT count(*) FROM records WHERE id BETWEEN ? AND ?"
LAST = "SELECT max(id) FROM records WHERE id BETWEEN ? AND ?"
LAST_SESSION = (
    "SELECT max(number) << %d FROM sessions UNION ALL SELECT max(id) FROM records"
    " UNION ALL SELECT max(id) FROM dead" % NUMBER_BITS
)
SIZES_OF_LETTERS = "SELECT id, buried, length(body) FROM dead ORDER BY buried DESC, id DESC"
DELETE_LETTER = "DELETE FROM dead WHERE id = ?"
KEEP_STATE = "INSERT OR REPLACE INTO states (session, checksum, body) VALUES (?, ?, ?)"
BURY = (
    "INSERT OR REPLACE INTO dead (id, kind, captured, checksum, body, status, words, buried)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
LETTERS = (
    "SELECT id, kind, captured, checksum, body, status, words, buried FROM dead"
    " ORDER BY buried, id"
)


def _content(body):
    """Return the bytes of a BLOB; a damaged row may have anything in its place."""
    if body is None or isinstance(body, (six.text_type, float) + six.integer_types):
        raise TypeError("not a BLOB")
    return bytes(body)


def identity(session, number):
    """Return a record's id: its session's number in the high bits, its own in the low ones.

    So one b-tree keeps each session's records together and in order, without an index.
    """
    return session << NUMBER_BITS | number


def checksum(identity, kind, captured, body):
    """Return the CRC-32 that a row must carry; sqlite does not notice flipped bytes itself."""
    return crc32(body, crc32(_pack(identity, captured, kind))) & 0xFFFFFFFF


def codes(digits):
    """Return {kind: its code} for the rows of a writer with these digits."""
    return dict((kind, code | digits << _DIGITS_SHIFT) for kind, code in _KIND_CODES.items())


def kind_of(code):
    """Return the kind that a row's code has, None if it has none."""
    try:
        return KINDS[code & _KIND_MASK]
    except (TypeError, IndexError):
        return None


def record_row(record):
    """Return a Record as a row of the records table."""
    session, number, kind, body, captured, digits = record
    return row(session, number, _KIND_CODES[kind] | digits << _DIGITS_SHIFT, body, captured)


def row(session, number, code, body, captured):
    """Return a record, given by its kind's code (see `codes`), as a row of the records table."""
    identity = session << NUMBER_BITS | number
    # As `checksum`, without the call: every log call comes through here.
    check = crc32(body, crc32(_pack(identity, captured, code))) & 0xFFFFFFFF
    return identity, code, captured, check, blob(body)


def record_of(row):
    """Return a row of the records table as a record, or None if it is damaged."""
    identity, code, captured, stored, body = row
    try:
        body = _content(body)
        if checksum(identity, code, captured, body) == stored:
            return _named(identity, code, captured, body)
    except (TypeError, IndexError, ValueError, struct.error):
        pass
    return None


def _named(identity, code, captured, body):
    digits, kind = code >> _DIGITS_SHIFT, KINDS[code & _KIND_MASK]
    return kinds.Record(
        identity >> NUMBER_BITS, identity & NUMBER_MASK, kind, body, captured, digits
    )


def letter_row(letter):
    """Return a dead letter as a row of the dead table."""
    words = letter.words
    if isinstance(words, bytes):
        words = words.decode("utf-8", "replace")
    elif words is not None:
        words = words.encode("utf-8", "replace").decode("utf-8", "replace")
    return record_row(letter.record) + (letter.status, words, letter.buried)


def letter_of(row):
    """Return a row of the dead table as a dead letter, or None if it is damaged."""
    record = record_of(row[:5])
    status, words, buried = row[5:]
    if record is None or not isinstance(buried, six.integer_types):
        return None
    return DeadLetter(record, status, words, buried)


def state_row(session, state):
    """Return a merged state as a row of the states table."""
    return session, crc32(state, session) & 0xFFFFFFFF, blob(state)


def state_of(row):
    """Return the bytes of a row of the states table, or None if it is damaged."""
    session, stored, body = row
    try:
        body = _content(body)
        return body if crc32(body, session) & 0xFFFFFFFF == stored else None
    except (TypeError, ValueError):
        return None


def entry_row(entry):
    """Return a session as a row of the sessions table."""
    return tuple(
        blob(entry.opening) if name == "opening" else getattr(entry, name) for name in COLUMNS
    )


def entry_of(row):
    """Return a row of the sessions table as an Entry, or None if it is damaged."""
    columns = dict(zip(COLUMNS, row))
    counts = [columns[name] for name in COUNTS + ("number", "opened", "inherited")]
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
