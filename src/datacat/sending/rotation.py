"""When a session goes on as another one on the server.

Servers get slow with the size of a session, and a large one takes long to be read back.  So, if
the application asks for that, the next one is opened after a certain amount, with the state so
far; the old one gets an event that names it, and is ended.

Belongs here: whether that is due, and how much the present one still takes.  Does not: doing it
(see `delivery`, `acts`, `outbox.handover`).
"""

from __future__ import absolute_import, division

from ..outbox.handover import last_kinds
from ..records import kinds
from .merged import merged_state

# The records that end a session on the server.
_LAST = (kinds.END, kinds.CRASH)

_ENDLESS = float("inf")


class Rotation(object):
    """Knows after how much a session is left for its next one.

    :param limit: a settings.Amount, None: never.
    """

    def __init__(self, limit):
        self._limit = limit

    def left(self, lane):
        """Return (records, bytes) that may go to a session before the next one is opened.

        Both are infinite for a session that could not be left when it was full.
        """
        records, size = self._left(lane)
        return (_ENDLESS, _ENDLESS) if records <= 0 or size <= 0 else (records, size)

    def _left(self, lane):
        if self._limit is None:
            return _ENDLESS, _ENDLESS
        size, count = lane.delivered
        return self._limit.records - count, self._limit.bytes - size

    def is_due(self, lane, head):
        """Return whether the next record goes to another session, which is to be opened.

        :param head: that record.
        """
        return min(self._left(lane)) <= 0 and head.kind not in _LAST and _may_be_left(lane)


def _may_be_left(lane):
    """Return whether a session may go on as another one.

    Not if another process may write into it as well, which does not know the next id; nor if its
    state is not known, which the next one would lack.
    """
    entry, outbox = lane.entry, lane.outbox
    if entry.inherited or outbox.is_marked_shared(entry) or outbox.refusal is not None:
        return False
    if entry.goodbye:
        # What is logged after the end is not worth a session that nobody ends.
        is_going_on = any(kind in _LAST for kind in last_kinds(outbox, entry))
    else:
        is_going_on = not lane.is_adopted
    return is_going_on and merged_state(lane) is not None
