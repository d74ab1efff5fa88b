"""The sender of one pipeline: each step does the one thing that is due next.

Belongs here: `Sender.step(now)`, and adopting what dead processes left.  Does not: whose turn it
is (`lanes`), what is sent (`delivery`), SQL, sleeping, threads.
"""

from __future__ import absolute_import, division

import random
import traceback

from .._compat import ESCAPED, monotonic, wall_clock
from ..outbox.learned import Learned
from ..outbox.names import identity_of
from ..outbox.outbox import Outbox
from ..outbox.refusals import SpoolUnusable
from . import adoption
from .acts import age
from .allowance import Allowance
from .backlog import Backlog, complaint
from .delivery import Delivery
from .heartbeats import Heartbeats
from .lanes import Lanes
from .server import Server

FAULT_SECONDS = 30.0
SHORTAGE_SECONDS = 1.0


class Sender(object):
    """The sending side of one pipeline.

    :param settings: the pipeline's Settings.
    :param transport: has `call(request, ...)`.
    :param outbox: this process's own outbox.
    :param spool: the Spool from which outboxes of dead processes are adopted, or None.
    :param warn: a callable (topic, message); `warn.clear(topic)` lets it warn of a topic again.
    :param inherited: entries of sessions that the outbox had when it was continued.
    :param predecessor: the notes of the process whose outbox is continued, a dict.
    :param redact: what records of adopted and inherited sessions pass through, or None.
    :param learned: what is known of the server, a Learned; None: nothing.
    :param wall: a callable that returns seconds since the epoch.
    :param chance: a callable that returns a float in [0, 1).
    :param clock: a callable that returns monotonic seconds, on the clock of `step`'s `now`.
    :param is_paused: a callable that returns whether the application wants nothing to be sent.

    `step` is for one thread; `hurry` and the attributes may be used by any.
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
        redact=None,
        learned=None,
        wall=wall_clock,
        chance=random.random,
        clock=monotonic,
        is_paused=lambda: False,
    ):
        learned = learned or Learned(None, wall)
        allowance = Allowance(settings.bandwidth, is_paused)
        self.server = Server(transport, warn, chance, clock, wall, learned, allowance)
        self._lanes = Lanes()
        self._inherited = set(inherited)
        self._heartbeats = Heartbeats(self.server, self._inherited, self._lanes.looked_at)
        self._delivery = Delivery(
            self.server, self._heartbeats, settings, warn, clock, wall, chance, learned
        )
        self._settings = settings
        self._outboxes = [outbox]
        self._predecessor = predecessor
        self._redact = redact
        self._spool = spool
        self._leftovers = None if spool is None else adoption.Leftovers(spool)
        self._warn = warn
        self._clock = clock
        self._wall = wall
        self._backlog = Backlog()
        self._is_hurried = False
        for entry in self._inherited:
            entry.redact = redact
        for entry in outbox.entries():
            self._heartbeats.note(entry, clock())
        self._take_over(outbox)

    def step(self, now):
        """Do the next thing that is due, at most one window; return how long to wait then.

        :param now: monotonic seconds.
        :returns: seconds; 0.0 if there may be more to do at once, None if nothing will be due.
        """
        link, outage, own = self.server.link, self.server.outage, self._outboxes[0]
        if own.newly_waiting:
            self._notice_records(own)
        if self._is_hurried:
            self._is_hurried = False
            link.hurry()
            self._lanes.hurry()
        if now >= self._backlog.due:
            self._watch_backlog(now)
        if outage.due is not None and now >= outage.due:
            self.server.end_outage()
        if self.server.due(now) > now:
            return self.server.pause(now, bool(self._lanes.busy()))
        lane = self._lanes.next(now)
        if self._heartbeats.are_next(now, lane is not None):
            self._heartbeats.send(now, lane is not None)
        elif self._is_adoption_due(now) and (lane is None or lane.entry.server_id is not None):
            self._adopt(now)
        elif lane is not None:
            self._serve(lane)
        else:
            return self._rest(now)
        return 0.0

    def listens(self, now):
        """Return whether a new record is a reason for a step: not in a pause, if others wait."""
        server = self.server
        return not server.is_paused() and (server.may_try(now) or not self._lanes.busy())

    def hurry(self):
        """Have the next step try the server at once, unless it asked to be left alone."""
        self._is_hurried = True

    def age(self, record):
        """Return how many seconds ago a record was captured."""
        return age(record, self._wall())

    @property
    def outboxes(self):
        """This process's own outbox, then the adopted ones."""
        return list(self._outboxes)

    def close_adopted(self):
        """Close the adopted outboxes, so that another process can adopt them."""
        for outbox in self._outboxes[1:]:
            self._close_one(outbox)

    def _close_one(self, outbox):
        # Listed until it is closed: a fork waits for the lock of every outbox that is listed.
        self._lanes.drop(outbox)
        outbox.close()
        self._outboxes.remove(outbox)

    # Lanes

    def _take_over(self, outbox):
        """Make lanes for an outbox's sessions; each oldest record may have been sent before."""
        captured = dict(outbox.heads())
        for entry in outbox.entries():
            if entry.waiting > 0 or entry.restoring:
                self._add_lane(outbox, entry, captured.get(entry)).suspect_head()

    def _notice_records(self, outbox):
        """Make lanes for sessions that had nothing to send and got a record."""
        newly_waiting = outbox.newly_waiting
        reported = len(newly_waiting)
        # An outbox reports a record just before it counts it, while the record is still queued.
        outbox.take_in()
        for _ in range(reported):
            entry, captured = newly_waiting[0]
            if entry.waiting > 0 and outbox.has(entry):
                self._add_lane(outbox, entry, captured)
            elif entry.goodbye:
                self._lanes.drop_idle(outbox, entry)
                self._heartbeats.note(entry, self._clock())
            newly_waiting.popleft()

    def _add_lane(self, outbox, entry, captured):
        is_own = outbox is self._outboxes[0] and entry not in self._inherited
        return self._lanes.add(outbox, entry, captured, not is_own or entry.is_past)

    def _serve(self, lane):
        entry, own = lane.entry, self._outboxes[0]
        server_id = entry.server_id
        try:
            self._delivery.serve(lane)
        except MemoryError:  # not our bug: retry shortly
            self._put_off(lane, SHORTAGE_SECONDS)
        except ESCAPED:
            _report_bug(self._warn)
            self._put_off(lane, FAULT_SECONDS)
        self._lanes.served(lane)
        if lane.outbox.newly_waiting:  # in an adopted outbox nobody else looks soon
            self._notice_records(lane.outbox)
        if lane.outbox is own and (entry.goodbye or entry.server_id != server_id):
            self._heartbeats.note(entry, self._clock())
        if lane.is_adopted and entry.is_over:
            self._end_adopted(lane)

    def _put_off(self, lane, seconds):
        """Pause a session whose turn raised something unexpected; the others go on."""
        # The server may have got the record before that.
        lane.suspect_head()
        lane.wait(self._clock() + seconds)

    def _end_adopted(self, lane):
        """Forget an adopted session that is over; close its outbox if it was the last one."""
        if lane.outbox is self._outboxes[0]:
            self._forget_inherited(lane.entry)
        elif not self._lanes.has_any_of(lane.outbox):
            self._close_if_over(lane.outbox)

    def _forget_inherited(self, entry):
        if self._outboxes[0].forget_if_over(entry):
            self._inherited.discard(entry)

    def _close_if_over(self, outbox):
        if outbox.is_over:
            self._close_one(outbox)

    def _rest(self, now):
        """Return for how long there is nothing to do."""
        own = self._outboxes[0]
        own.take_in()
        if own.newly_waiting:
            return 0.0
        times = [self._lanes.next_due()]
        if times == [None]:
            self._backlog.reset()
            self._warn.clear("backlog")
        times.append(self.server.outage.due)
        times.append(self._heartbeats.due)
        if self._leftovers is not None and self.server.link.online:
            times.append(self._leftovers.due)
        times = [when for when in times if when is not None]
        return max(0.0, min(times) - now) if times else None

    # Adoption

    @property
    def is_adopting(self):
        """Whether there are adopted outboxes, or some that may yet be adopted."""
        return len(self._outboxes) > 1 or (
            self._leftovers is not None and self._leftovers.are_waiting
        )

    def _is_adoption_due(self, now):
        if self._leftovers is None or not self.server.link.online:
            return False
        return self._leftovers.is_due(now, len(self._outboxes) - 1)

    def _adopt(self, now):
        """Look for outboxes that other processes left when they died, or adopt one of them."""
        try:
            if now >= self._leftovers.due:
                self._look_around(now)
            else:
                self._adopt_next()
        except SpoolUnusable:
            pass  # the folder may be usable next time
        except Exception:
            _report_bug(self._warn)

    def _look_around(self, now):
        self._leftovers.look(now, self._paths())
        self._report_inherited_crashes()
        for outbox in list(self._outboxes):
            outbox.report_drops()
            self._notice_records(outbox)
        for outbox in self._outboxes[1:]:
            if outbox.refusal is not None:
                outbox.upkeep.heal(self._spool.replacement)
            self._close_if_over(outbox)
        for entry in list(self._inherited):
            self._forget_inherited(entry)

    def _report_inherited_crashes(self):
        """Report the crashes among the sessions that this process's own outbox had already."""
        own = self._outboxes[0]
        entries = sorted(self._inherited, key=lambda entry: entry.number)
        with self._spool.adopting():
            if not entries or self._spool.has_living_heir(identity_of(own.path), self._paths()):
                return
        notes = own.notes() if self._predecessor is None else self._predecessor
        adoption.report_crashes(own, entries, notes, self.server.is_v1)

    def _adopt_next(self):
        outbox = self._open_next()
        if outbox is None:
            return
        is_told = False
        try:
            # With no lock: before_record is called, which may wait for one of the application's.
            outbox.report_drops()
            adoption.report_crashes(outbox, outbox.entries(), outbox.notes(), self.server.is_v1)
            is_told = True
        finally:
            if not is_told:
                # Free again for the next attempt.
                self._close_one(outbox)
        self._notice_records(outbox)
        self._close_if_over(outbox)

    def _open_next(self):
        """Open the next outbox and make lanes for it; return it, or None."""
        # Released after each, or a fork would wait for all of them.
        with self._spool.adopting():
            store = self._leftovers.take(self._paths())
            if store is None:
                return None
            outbox = Outbox(store, self._settings.max_bytes, self._warn)
            try:
                for entry in outbox.entries():
                    entry.redact = self._redact
                self._take_over(outbox)
                self._outboxes.append(outbox)
            finally:
                # One that could not be taken over is free again for the next attempt.
                if outbox not in self._outboxes:
                    self._lanes.drop(outbox)
                    outbox.close()
            return outbox

    def _paths(self):
        return [outbox.path for outbox in self._outboxes]

    def _watch_backlog(self, now):
        busy = [] if self.server.is_paused() else [lane.entry for lane in self._lanes.busy()]
        if self._backlog.grows(sum(entry.waiting for entry in busy), now):
            self._warn("backlog", complaint(busy, self._settings, self.server))


def _report_bug(warn):
    warn(
        "bug: %s" % traceback.format_exc().splitlines()[-1],
        "bug in datacat, please report it (sending continues)\n%s" % traceback.format_exc(),
    )
