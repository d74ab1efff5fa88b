"""Handing a session over to its next one on the server.

1. The old id goes to an entry of its own, the session's *past*, which has said goodbye.  It is
   written first, without records, so it is over if the process is killed then.
2. In one transaction, the past gets its last words and the session its next id, with counts that
   start anew.  From then on each is delivered like any other session, and by whoever adopts them.
3. The log is synced before anything goes to the next session.  If a power cut undid step 2, that
   would be missing in the old one, and be sent again.

Belongs here: these steps.  Does not: when a session is handed over, its last words, requests.
"""

from __future__ import absolute_import, division

import collections

from .. import errors
from .refusals import NumberTaken

_GOODBYE = "ended"
_LAST_FEW = 16

_Changing = collections.namedtuple("_Changing", "entry changes")


def hand_over(outbox, entry, server_id, last_words):
    """Go on with a session under its next id; its whole state is to be sent there first.

    :param last_words: (kind, body) pairs that its old id still gets.
    :returns: False if that is impossible now, and nothing changed.
    """
    if not outbox.intake.run(_hand_over, outbox, entry, server_id, last_words):
        return False
    outbox.upkeep.sync_before_going_on()
    return True


def last_kinds(outbox, entry):
    """Return the kinds of the last few records of a session, as far as they wait on disk."""
    return outbox.intake.run(_last_kinds, outbox, entry)


def _last_kinds(outbox, entry):
    after = max(entry.position, entry.accepted - _LAST_FEW)
    try:
        found = outbox.disk.store.outline(entry.number, after, _LAST_FEW)
    except errors.DatacatError:
        return []
    return [kind for number, kind, _ in found if number not in entry.ahead]


def _hand_over(outbox, entry, server_id, last_words):
    if entry.forgotten or outbox.refusal is not None:
        return False
    past = outbox.add_session(
        u"%s-until-%s" % (entry.local_id, server_id),
        entry.opening,
        server_id=entry.server_id,
        goodbye=_GOODBYE,
        events=entry.events,
        metrics=entry.metrics,
        shared=entry.shared,
    )
    past.is_past, past.redact = True, entry.redact
    changes = dict(server_id=server_id, restoring=1, events=0, metrics=0, shared=0)
    records = outbox.intake.first_records(past, last_words)
    if not _is_written(outbox, records, _Changing(entry, changes)):
        outbox.forget(past)
        return False
    for name, value in changes.items():
        setattr(entry, name, value)
    past.accepted = len(records)
    entry.past = tuple(each for each in entry.past if not each.is_delivered) + (past,)
    outbox.newly_waiting.append((past, records[0].captured))
    return True


def _is_written(outbox, records, changing):
    # A disk that refused the row of the past would refuse its records, too.
    if outbox.refusal is not None:
        return False
    try:
        outbox.disk.insert_all(records, changing=changing)
    except NumberTaken:
        return False
    return True
