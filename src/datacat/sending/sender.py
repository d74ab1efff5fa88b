"""Delivers what the outboxes hold: whose turn it is, and what goes on besides records.

What may live here: `Sender.step(now)`.  What may not: what an outcome means for a record, SQL,
requests' names, sleeping, threads.
"""

from __future__ import absolute_import, division

import random
import time
import traceback

from .._compat import monotonic
from ..wire import dialects
from . import adoption
from .delivery import UNKNOWN_STATE, Delivery
from .lanes import Backlog, Lane, choose, next_due
from .server import Server

__all__ = ["UNKNOWN_STATE", "Sender"]

HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 60.0
FAULT_SECONDS = 30.0
SHORTAGE_SECONDS = 1.0


class Sender(object):
    """The sending side of one pipeline.

    :param settings: the pipeline's Settings.
    :param transport: has `call(request, ...)`.
    :param outbox: this process's own outbox.
    :param spool: where outboxes of dead processes are looked for, or None.
    :param warn: a callable (topic, message); `warn.clear(topic)` lets a topic be told again.
    :param inherited: entries of the sessions that the outbox had when it was continued.
    :param predecessor: what the process noted of itself whose outbox is continued.
    :param wall: seconds since the epoch.
    :param chance: a callable that returns a float in [0, 1).
    :param clock: monotonic seconds, the clock that `step` is given the time of.

    `step` belongs to one thread; `hurry` and the attributes may be used by any.
    """

    def __init__(
        self,
        settings,
        transport,
        outbox,
        spool,
        warn,
        inherited=(),
        predecessor=None,
        wall=time.time,
        chance=random.random,
        clock=monotonic,
    ):
        self.server = Server(transport, warn, chance, clock)
        self._delivery = Delivery(self.server, settings.stamp_late, warn, clock, wall, chance)
        self._max_bytes = settings.max_bytes
        self._outboxes = [outbox]
        self._inherited = list(inherited)
        self._predecessor = predecessor
        self._spool = spool
        self._warn = warn
        self._clock = clock
        self._lanes = {}
        self._backlog = Backlog()
        self._turn = 0
        self._hurried = False
        self._heartbeat_due = 0.0
        self._look_due = 0.0
        self._take_over(outbox)

    def step(self, now):
        """Do the next thing that is due, at most one record; return how long to wait after it.

        :param now: monotonic seconds.
        :returns: seconds; 0.0 where there may be more to do at once, None where nothing is due.
        """
        link, lanes = self.server.link, self._all_lanes()
        if self._hurried:
            self._hurried = False
            for each in [link] + lanes:
                each.hurry()
        if self._backlog.is_due(now):
            self._watch_backlog(lanes, now)
        if link.due > now:
            return link.due - now
        lane = choose(lanes, now, self._turn)
        if self._heartbeats_are_due(now):
            self._send_heartbeats(now, lane is not None)
        elif self._look_is_due(now) and (lane is None or lane.entry.server_id is not None):
            self._look_for_the_dead(now)
        elif lane is not None:
            self._serve(lane)
        else:
            return self._rest(lanes, now)
        return 0.0

    def hurry(self):
        """Let the next step try the server at once, unless it asked to be left alone."""
        self._hurried = True

    def age(self, record):
        """Return how many seconds ago a record was captured."""
        return self._delivery.age(record)

    @property
    def outboxes(self):
        """This process's own outbox, then the adopted ones."""
        return list(self._outboxes)

    def close_adopted(self):
        """Close the outboxes of others, for another process to go on with."""
        adopted, self._outboxes[1:] = self._outboxes[1:], []
        for outbox in adopted:
            outbox.close()

    # Lanes

    def _all_lanes(self):
        known = self._lanes
        lanes = []
        for outbox in self._outboxes:
            for entry in outbox.entries():
                lane = known.get(entry)
                if lane is None:
                    lane = known[entry] = Lane(outbox, entry, self._is_adopted(outbox, entry))
                lanes.append(lane)
        if len(known) > len(lanes):
            self._lanes = dict((lane.entry, lane) for lane in lanes)
        return lanes

    def _is_adopted(self, outbox, entry):
        return outbox is not self._outboxes[0] or entry in self._inherited

    def _take_over(self, outbox):
        """Find out of each session's oldest record whether whoever had it before sent it."""
        for entry in outbox.entries():
            lane = self._lanes[entry] = Lane(outbox, entry, self._is_adopted(outbox, entry))
            self._delivery.doubt_head(lane)

    def _serve(self, lane):
        self._turn += 1
        try:
            self._delivery.serve(lane)
        except MemoryError:
            # No fault of ours, and over soon or never.
            self._put_off(lane, SHORTAGE_SECONDS)
        except Exception:
            self._tell_fault()
            self._put_off(lane, FAULT_SECONDS)
        if lane.is_over:
            self._let_go(lane)

    def _put_off(self, lane, seconds):
        # Whatever it was, it may have come when the server had the record already.
        self._delivery.doubt_head(lane)
        # One session's trouble must not hold back the others.
        lane.wait(self._clock() + seconds)

    def _let_go(self, lane):
        """An adopted session is over: forget it, and close its outbox when it was the last."""
        outbox = lane.outbox
        if outbox is self._outboxes[0]:
            outbox.forget_if_over(lane.entry)
        elif outbox.is_over:
            self._outboxes.remove(outbox)
            outbox.close()

    def _rest(self, lanes, now):
        times = [next_due(lanes)]
        if times == [None]:
            self._backlog.is_over()
            self._warn.clear("backlog")
        if self.server.dialect is dialects.V1 and self._living():
            times.append(self._heartbeat_due)
        if self._spool is not None and self.server.link.online:
            times.append(self._look_due)
        times = [when for when in times if when is not None]
        return max(0.0, min(times) - now) if times else None

    # Besides records

    def _living(self):
        return [
            entry
            for entry in self._outboxes[0].entries()
            if entry.server_id is not None and not entry.goodbye and entry not in self._inherited
        ]

    def _heartbeats_are_due(self, now):
        return (
            now >= self._heartbeat_due
            and self.server.dialect is dialects.V1
            and bool(self._living())
        )

    def _send_heartbeats(self, now, record_is_next):
        """Tell a v1 server that the sessions live; what comes of it is not worth repeating."""
        self._heartbeat_due = now + HEARTBEAT_SECONDS
        for entry in self._living():
            if not self.server.beat(entry, record_is_next):
                return

    def _look_is_due(self, now):
        return self._spool is not None and now >= self._look_due and bool(self.server.link.online)

    def _look_for_the_dead(self, now):
        """Adopt what other processes of this application left when they died."""
        self._look_due = now + LOOK_SECONDS
        try:
            with self._spool.adopting():
                self._adopt()
            for outbox in self._outboxes:
                outbox.report_drops()
            for lane in self._all_lanes():
                if lane.is_over and lane.outbox in self._outboxes:
                    self._let_go(lane)
        except Exception:
            self._tell_fault()

    def _adopt(self):
        own = self._outboxes[0]
        free, heirs = self._spool.survey([outbox.path for outbox in self._outboxes])
        adoption.condemn_inherited(own, self._inherited, heirs, self._predecessor)
        for outbox in adoption.adopt(free, heirs, self._max_bytes, self._warn):
            self._outboxes.append(outbox)
            self._take_over(outbox)
            adoption.condemn(outbox, outbox.entries(), outbox.notes())

    def _watch_backlog(self, lanes, now):
        waiting = sum(lane.entry.waiting for lane in lanes)
        if not self._backlog.grows(waiting, now):
            return
        link = self.server.link
        why = "the last error was: %s" % link.last_error
        if link.online:
            why = (
                "the server is slow; servers store a whole session at each write, and the "
                "largest here has %d records: log less, or open a new session now and then"
                % max(lane.entry.sent for lane in lanes)
            )
        self._warn(
            "backlog",
            (
                "for ten minutes more has been logged than was delivered, and %d records wait; %s"
                % (waiting, why)
            ),
        )

    def _tell_fault(self):
        self._warn(
            "fault",
            "a fault in datacat itself, please report it; it goes on. %s" % traceback.format_exc(),
        )
