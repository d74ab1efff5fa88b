"""The tables of an outbox and the statements on them.

What may live here: SQL as text.  What may not: running it.
"""

from __future__ import absolute_import, division

from .rows import COLUMNS, SAVED

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
