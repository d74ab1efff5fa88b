"""Whether a server applies the requests of one connection in the order in which it gets them.

Belongs here: which windows show that, and what is remembered of it.  Does not: sending them
(`windows`), reading a session (`looks`), how wide they are (`width`).

Theory of operation

1. Answers in order do not prove it: something on the way may handle requests side by side, and
   still answer in order.  So the first windows are narrow, and are compared with what the server
   has then.
2. A small session is read behind the window, in the same exchange, which costs no round trip.
   Three windows in order are enough, of any sessions: those of a short run count for the next.
3. A larger session is read once three of its windows went well.  The same is done if the reading
   behind a window came too early, because it was handled beside the records.
4. Two records the wrong way round end windows for good.  Either result is known to later runs.
"""

from __future__ import absolute_import, division

from ..records import kinds
from ..wire import dialects, readback
from .width import WINDOWS_CHECKED

# Names and values of what is learned about a server.
ORDER, IN_ORDER = "order", "windows in order"
KEPT, MIXED = "kept", "mixed"

_MIXED_UP = (
    "the server, or something in front of it, applies requests of one connection out of order: "
    "from now on records are sent to it one by one, which is slower over a long distance"
)


class Order(object):
    """Finds out whether a server keeps the order; for one thread.

    :param server: the Server.
    :param looks: the Looks.
    :param width: the Width, which is told.
    :param warn: a callable (topic, message).
    :param clock: a callable that returns monotonic seconds.
    :param learned: what is known of the server, a Learned.
    """

    def __init__(self, server, looks, width, warn, clock, learned):
        self._server = server
        self._looks = looks
        self._width = width
        self._warn = warn
        self._clock = clock
        self._learned = learned
        self._recall()

    def allows(self, records):
        """Return whether some records may go together: if unproven, only if they would show it.

        An end that goes with the record before it hardly matters: a server takes that after the
        end as well.
        """
        is_last = [record.kind for record in records[1:]] == [kinds.END]
        return self._width.is_checked or is_last or self._show(records)

    def reading(self, lane, records):
        """Return the request that goes behind some records, to see their order, or None."""
        if self._width.is_checked or not self._show(records):
            return None
        return (
            dialects.V1.read(lane.entry.server_id) if self._looks.is_small(lane, records) else None
        )

    def went_well(self, lane, records, before, response):
        """Compare a window that was answered without any trouble with what the server has.

        :param before: has `events` and `metrics`, how many of each were delivered before it.
        :param response: to the request that went behind it, or None.
        """
        if self._width.is_checked or lane.entry.server_id is None:
            return
        listed = [record for record in records if self._is_listed(record)]
        is_kept = None
        if response is not None:
            is_kept = self._looks.shows_order(lane, listed, before, response)
        if is_kept is None:
            self._check_later(lane, listed, before)
        else:
            lane.to_check = None
            self._conclude(is_kept, 1)

    def give_up(self):
        """The server applied a later record before an earlier one."""
        self._width.turn_off()
        self._learned.note(ORDER, MIXED)
        self._warn("order", _MIXED_UP)

    def _check_later(self, lane, records, before):
        """Compare the last of some windows of a session, and those before it."""
        if lane.to_check is None:
            lane.to_check = before, [], []
        before, checked, windows = lane.to_check
        checked.extend(records)
        windows.append(len(records))
        if len(windows) < WINDOWS_CHECKED:
            return
        lane.to_check = None
        is_kept = self._looks.is_in_order(lane, checked, before)
        if is_kept is None:
            self._width.refused(self._clock())
        else:
            self._conclude(is_kept, WINDOWS_CHECKED)

    def _conclude(self, is_kept, windows):
        if not is_kept:
            self.give_up()
            return
        in_order = windows + int(self._learned.number(IN_ORDER) or 0)
        if in_order >= WINDOWS_CHECKED:
            self._width.keeps_order()
            self._learned.note(ORDER, KEPT)
        else:
            self._learned.note(IN_ORDER, in_order)

    def _show(self, records):
        """Return whether a session shows in which order some records were applied."""
        listed = [readback.listed_under(each.kind) for each in records if self._is_listed(each)]
        return len(set(listed)) < len(listed)

    def _is_listed(self, record):
        if record.kind == kinds.STATE:
            return self._server.dialect is dialects.V1
        return record.kind in kinds.TIMED

    def _recall(self):
        order = self._learned.word(ORDER)
        if order == KEPT:
            self._width.keeps_order()
        elif order == MIXED:
            self._width.turn_off()
