"""What can be saved from a damaged outbox.

Belongs here: which rows are believed, and what becomes of a record whose session is lost.  Does
not: running SQL, files.
"""

from __future__ import absolute_import, division

from ..records import kinds
from . import tables
from .entry import Entry
from .tables import entry_of, letter_of, record_of, state_of

# Stands for a state that cannot be read.
UNKNOWN_STATE = b"null"
_UNKNOWN_OPENING = b'{"product":"unknown","version":"unknown"}'


def salvage(rows_of):
    """Return what can still be read: (entries, {session: state}, records, dead letters).

    Takes only records whose checksum is right, read from both ends.  If a record's session cannot
    be read, one is made up for it.

    :param rows_of: a callable (statement) that yields rows as far as they can be read.
    """
    intact = _intact_records(rows_of)
    sessions = list(rows_of(tables.SESSIONS)) or rows_of(tables.OLD_SESSIONS)
    entries = [entry_of(row) for row in sessions]
    entries = _completed([entry for entry in entries if entry is not None], intact)
    states = dict(
        (row[0], state_of(row) or UNKNOWN_STATE)
        for row in rows_of("SELECT session, checksum, body FROM states")
    )
    letters = [letter_of(row) for row in rows_of(tables.LETTERS)]
    return entries, states, intact, [letter for letter in letters if letter is not None]


def _intact_records(rows_of):
    found = {}
    for direction in ("ASC", "DESC"):
        for row in rows_of(tables.RECORDS + " ORDER BY id %s" % direction):
            if row[0] in found:
                break
            record = record_of(row)
            if record is not None and record.number:
                found[row[0]] = record
    return [found[identity] for identity in sorted(found)]


def _completed(entries, intact):
    """Return entries whose counts match the records, one for each of their sessions."""
    by_number = dict((entry.number, entry) for entry in entries)
    for record in intact:
        entry = by_number.get(record.session)
        if entry is None:
            local_id = u"local-salvaged-%d-%d" % (record.session, record.captured)
            entry = by_number[record.session] = Entry(
                number=record.session,
                local_id=local_id,
                opening=_UNKNOWN_OPENING,
                opened=record.captured,
                accepted=record.number - 1,
                gone=record.number - 1,
                dropped=record.number - 1,
                unreported=record.number - 1,
            )
        if record.kind == kinds.OPEN:
            entry.opening = record.body
        entry.accepted = max(entry.accepted, record.number)
    return [by_number[number] for number in sorted(by_number)]
