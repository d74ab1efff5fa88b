"""Whose turn it is among all sessions, however many there are.

Belongs here: each session's lane, its state in plain values, and choosing between lanes, with
`now` given.  Does not: clocks, threads, exchanges with the server, changes to an outbox.

Theory of operation

1. A lane is one session's way out.  It is *ready* (its oldest record may be sent now), *waiting*
   (not before `lane.due`) or *idle* (nothing to send).
2. Ready and waiting lanes are in heaps: the ready ones by turn, the waiting ones by due time.
   Live and adopted lanes have separate heaps, and so have pauses that flush() may cut short and
   those that it must not.  Idle lanes are in none and cost nothing.
3. Nothing is ever removed from the middle of a heap.  Filing a lane gives it a new ticket, which
   the heap's item carries too; an item whose ticket is no longer its lane's is stale, and is
   thrown away when it comes up.
4. `next` leaves the chosen lane in its heap.  Its server calls `served`, which files it again by
   its next record.  An interrupted step loses no lane, because a lane is always pushed to its new
   position before its old item is popped.
5. A lane that is the only ready one is not filed again: it stays where it is, and its next record
   is not looked up.  It is filed when another lane is.
6. An idle lane becomes ready again by `add`, when its outbox reports a record for its session.
"""

from __future__ import absolute_import, division

import heapq
import itertools

from ..wire import verdicts
from .decisions import is_repeated
from .doubt import Doubt
from .pausing import Pausing
from .width import LIMIT

ADOPTED_TURN = 10
REOPEN_SECONDS = 600.0


class Lane(Pausing):
    """One session's way out: how its oldest record has fared, and what is known of the session.

    :ivar is_adopted: whether another process opened the session, or nobody uses it any more.
    :ivar ticket: that of its item in a heap of Lanes; None while it is idle.
    :ivar captured: when its oldest record was captured (microseconds since the epoch), None if
        that must be looked up.
    :ivar doubt: the Doubt about its oldest record, or None.
    :ivar is_head_in_doubt: whether the oldest record may have been sent before.
    :ivar merged: the session's state as delivered (a dict), None if it is not loaded.
    :ivar reopened_at: when the session was last opened again (monotonic), or None.
    :ivar has_complaint: whether a warning was given that its records wait.
    :ivar to_check: of its first windows: (how much was delivered before, the records whose order
        is to be checked, the lengths of the windows), or None.
    :ivar is_unreadable: whether a read-back could not tell what arrived.
    :ivar seen: how large the session was when it was read: (bytes, records sent until then), or
        None.
    :ivar delivered: (bytes, number) of the records that were delivered from this lane to the
        server's present session; it starts anew when that could not be left.
    :ivar refusals: how many refusals in a row had the same words.
    :ivar blames: how often the oldest record failed although its session can be read.
    """

    __slots__ = (
        "outbox",
        "entry",
        "is_adopted",
        "ticket",
        "captured",
        "doubt",
        "is_head_in_doubt",
        "merged",
        "reopened_at",
        "has_complaint",
        "to_check",
        "is_unreadable",
        "seen",
        "delivered",
        "blames",
        "_first_blame",
        "refusals",
        "_refused_with",
    )

    def __init__(self, outbox, entry, is_adopted):
        super(Lane, self).__init__()
        self.outbox = outbox
        self.entry = entry
        self.is_adopted = is_adopted
        self.ticket = None
        self.merged = None
        self.reopened_at = None
        self.has_complaint = False
        self.start_anew()
        self._refused_with = None
        self.refusals = 0
        self.move_on()

    def move_on(self):
        """Forget how the oldest record fared: it is out of the way."""
        self.due = 0.0
        self.failures = 0
        self.captured = None
        self.doubt = None
        self.is_head_in_doubt = False
        self.blames = 0
        self._first_blame = None

    @property
    def has_work(self):
        """Whether there is anything to send for this session."""
        entry = self.entry
        return entry.waiting > 0 or bool(entry.restoring and entry.server_id)

    def try_at_once(self):
        """Forget that an attempt failed; what is known of the oldest record stays."""
        self.due = 0.0
        self.failures = 0

    def deliver(self):
        """Note that the oldest record was delivered."""
        self.move_on()
        self.trust()

    # The oldest record

    def suspect_head(self):
        """Have the oldest record read back before it is sent: it may have been sent before."""
        entry = self.entry
        self.doubt = None
        self.is_head_in_doubt = entry.server_id is not None

    def doubt_about(self, head):
        """Return the Doubt about the oldest record, or None.

        :param head: that record.
        """
        if self.is_head_in_doubt:
            self.is_head_in_doubt = False
            self.doubt = None if is_repeated(head) else Doubt(head.number, count=LIMIT)
        if self.doubt is not None and self.doubt.number != head.number:
            self.doubt = None
        return self.doubt

    def blame(self, now):
        """Note that the oldest record failed although its session can be read."""
        self.blames += 1
        if self._first_blame is None:
            self._first_blame = now

    def would_be_poisoned(self, now):
        """Return whether one more blame makes the oldest record a dead letter."""
        return self._first_blame is not None and verdicts.is_poisoned(
            self.blames + 1, self._first_blame, now
        )

    # The session

    def start_anew(self):
        """Forget what the server's session was like: there is another one."""
        self.is_unreadable = False
        self.seen = self.to_check = None
        self.delivered = 0, 0

    def may_reopen(self, now):
        """Return whether the session may be opened again by now."""
        return self.reopened_at is None or now - self.reopened_at >= REOPEN_SECONDS

    def count_refusal(self, words):
        """Count a refusal; return how many in a row had the same words, this one included."""
        self.refusals = self.refusals + 1 if words == self._refused_with else 1
        self._refused_with = words
        return self.refusals

    def trust(self):
        """Forget the refusals: they were the records' fault, or records are accepted again."""
        self.refusals = 0
        self._refused_with = None


class Lanes(object):
    """The lanes of all outboxes; see the top of this module.  For one thread."""

    def __init__(self):
        self._lanes = {}
        self._ready = ([], [])
        self._waiting = ([], [])
        self._tickets = itertools.count(1)
        self._turn = 0
        self._sole = None

    def __len__(self):
        """Return how many lanes there are, including idle ones."""
        return sum(len(lanes) for lanes in self._lanes.values())

    # Coming and going

    def add(self, outbox, entry, captured, is_adopted):
        """Return the lane of a session that has something to send; file it if it was idle.

        :param captured: when its oldest record was captured, microseconds since the epoch; None
            if that must be looked up.
        """
        lane = self._lane(outbox, entry, is_adopted)
        if lane.ticket is None:
            lane.captured = captured
            self._file(lane)
        return lane

    def _lane(self, outbox, entry, is_adopted):
        lanes = self._lanes.get(outbox)
        if lanes is None:
            lanes = self._lanes[outbox] = {}
        lane = lanes.get(entry)
        if lane is None:
            lane = lanes[entry] = Lane(outbox, entry, is_adopted)
        return lane

    def drop_idle(self, outbox, entry):
        """Forget a session's lane if it is idle."""
        lane = self._lanes.get(outbox, {}).get(entry)
        if lane is not None and lane.ticket is None:
            del self._lanes[outbox][entry]

    def has_any_of(self, outbox):
        """Return whether an adopted outbox has lanes; idle ones are not kept."""
        return bool(self._lanes.get(outbox))

    def drop(self, outbox):
        """Forget all lanes of an outbox."""
        for lane in self._lanes.pop(outbox, {}).values():
            lane.ticket = None

    # Whose turn

    def next(self, now):
        """Return the ready lane whose turn it is, or None.

        Opens go first, then the oldest record.  Live sessions go before adopted ones, but every
        tenth turn goes to an adopted one if any is ready.
        """
        self._end_pauses(now)
        is_adopted_turn = self._turn % ADOPTED_TURN == ADOPTED_TURN - 1
        for is_adopted in (is_adopted_turn, not is_adopted_turn):
            heap = self._ready[is_adopted]
            if _has_valid_top(heap):
                return heap[0][-1]
        return None

    def served(self, lane):
        """File a lane anew after its turn."""
        self._turn += 1
        is_alone = len(self._ready[False]) == 1 and not self._ready[True]
        if is_alone and lane.has_work and not lane.due:
            self._sole = lane
        else:
            self._file(lane)

    def next_due(self):
        """Return the earliest time at which a waiting lane is due, or None."""
        dues = [heap[0][0] for heap in self._waiting if _has_valid_top(heap)]
        return min(dues) if dues else None

    def busy(self):
        """Return the lanes that are ready or waiting."""
        heaps = self._ready + self._waiting
        return [item[-1] for heap in heaps for item in heap if _is_valid(item)]

    def looked_at(self):
        """Return the entries of sessions that should not change before the next look at them."""
        return set(
            lane.entry
            for lane in self.busy()
            if lane.doubt is not None and lane.doubt.version is not None
        )

    def hurry(self):
        """End every pause that the server did not ask for."""
        hasty = self._waiting[False]
        for item in hasty:
            if _is_valid(item):
                item[-1].hurry()
                self._file(item[-1])
        del hasty[:]

    def _end_pauses(self, now):
        for heap in self._waiting:
            while heap and heap[0][0] <= now:
                lane = heap[0][-1]
                if _is_valid(heap[0]):
                    lane.due = 0.0
                    self._file(lane)
                heapq.heappop(heap)

    def _file(self, lane):
        """Put a lane into the right heap, or into none."""
        if self._has_head(lane):
            self._push(lane)
        else:
            self._let_rest(lane)

    def _has_head(self, lane):
        """Return whether there is something to send; look up the oldest record if need be."""
        if not lane.has_work:
            return False
        if lane.captured is None and not lane.due:
            head = lane.outbox.head(lane.entry)
            if head is None and not lane.outbox.has(lane.entry):
                return False
            lane.captured = head.captured if head is not None else 0
        return True

    def _push(self, lane):
        sole, self._sole = self._sole, None
        if sole is not None and sole is not lane:
            self._file(sole)
        ticket = next(self._tickets)
        if lane.due:
            heapq.heappush(self._waiting[lane.is_patient], (lane.due, ticket, lane))
        else:
            is_open = lane.entry.server_id is not None
            item = (is_open, lane.captured, ticket, lane)
            heapq.heappush(self._ready[lane.is_adopted], item)
        # Last: if memory ran out before, the old item is still valid.
        lane.ticket = ticket

    def _let_rest(self, lane):
        lane.ticket = lane.to_check = None
        if self._sole is lane:
            self._sole = None
        if lane.is_adopted or lane.entry.goodbye or lane.entry.forgotten:
            # Late records would make a new lane.
            self._lanes.get(lane.outbox, {}).pop(lane.entry, None)


def _has_valid_top(heap):
    """Throw stale items away from the top of a heap; return whether any item is left."""
    while heap and not _is_valid(heap[0]):
        heapq.heappop(heap)
    return bool(heap)


def _is_valid(item):
    return item[-1].ticket == item[-2]
