"""Preparing an open sqlite file as an outbox: its settings, its schema, and whether it is sound.

Belongs here: what happens once, when a file is opened.  Does not: everything after that (see
`store`), and which file may be opened at all (see `spool`).
"""

from __future__ import absolute_import, division

from . import tables
from .refusals import StoreDamaged, StoreTooNew

# Smaller pages make the file a seventh larger with records of 150 bytes, larger ones the log.
PAGE_SIZE = 2048
# As many as can be checked in about 20 ms, at each opening.
_CHECKED_PAGES = 16 * 1024 * 1024 // PAGE_SIZE
_CACHE_KIB = 512


def prepare(execute, path, power_safe):
    """Make sure that an open file is an outbox of this schema.

    An empty file gets the schema, an older schema is migrated, each in one transaction.

    :param execute: runs a statement on the file, whose `locking_mode` is EXCLUSIVE already.
    :param path: the file's path, for messages.
    :param power_safe: whether a commit waits until the disk has it.
    :raises StoreTooNew: for a newer schema.
    :raises StoreDamaged: if the file is not a sound outbox.
    """
    # The first read takes the exclusive lock, which from now on proves that the owner lives.
    version = execute("PRAGMA user_version").fetchone()[0]
    if version > tables.SCHEMA_VERSION:
        raise StoreTooNew(
            "the outbox %s has schema %d, newer than this datacat's %d: it is left alone; upgrade "
            "datacat to send what is in it" % (path, version, tables.SCHEMA_VERSION)
        )
    if version == 0:
        execute("PRAGMA page_size = %d" % PAGE_SIZE)
        execute("PRAGMA auto_vacuum = INCREMENTAL")
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = %s" % ("FULL" if power_safe else "NORMAL"))
    execute("PRAGMA wal_autocheckpoint = 0")
    execute("PRAGMA cache_size = -%d" % _CACHE_KIB)
    execute("BEGIN IMMEDIATE")
    if version == 0 and not _statements(execute):
        _create(execute)
    elif _application(execute) == tables.APPLICATION_ID:
        _migrate(execute, version)
    if not _is_sound(execute):
        raise StoreDamaged("%s is a sqlite database, but not a sound outbox" % path)
    execute("COMMIT")


def _create(execute):
    for statement in tables.SCHEMA:
        execute(statement)
    execute("PRAGMA application_id = %d" % tables.APPLICATION_ID)
    execute("PRAGMA user_version = %d" % tables.SCHEMA_VERSION)


def _migrate(execute, version):
    for older in range(version, tables.SCHEMA_VERSION):
        for statement in tables.MIGRATIONS.get(older, ()):
            execute(statement)
        execute("PRAGMA user_version = %d" % (older + 1))


def _is_sound(execute):
    return (
        _application(execute) == tables.APPLICATION_ID
        and _statements(execute) == set(tables.SCHEMA)
        # A single row with a wrong number misleads every search that passes it.
        and (
            execute("PRAGMA page_count").fetchone()[0] > _CHECKED_PAGES
            or execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        )
    )


def _application(execute):
    return execute("PRAGMA application_id").fetchone()[0]


def _statements(execute):
    found = execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return set(row[0] for row in found)
