"""What must not wait for the network: heartbeats, totals, the sync, healing, losses.

It also measures the process for those who asked for that.

Once, it also tidies the folder: a machine may be offline for months.

Belongs here: `Keeper.step(now)`.  Does not: requests, SQL, what becomes of a record, threads.
"""

from __future__ import absolute_import, division

from .. import _compat
from ..outbox.no_store import IN_MEMORY
from ..records import build, kinds, redaction
from . import monitors, native, recording, watchdog

# A power cut may cost one second; leave time to wake and sync.
SYNC_SECONDS = 0.75


class Keeper(object):
    """The steps of a pipeline's second thread.

    :param outbox: this process's own Outbox.
    :param spool: the Spool, of which it uses `replacement(store)` and `tidy()`.
    :param members: {local id: Membership}, a dict that the pipeline changes.
    :param nudge: called after the keeper has appended a record.
    """

    def __init__(self, outbox, spool, members, nudge):
        self._outbox = outbox
        self._spool = spool
        self._is_tidy = False
        self._members = members
        self._nudge = nudge
        self._looked = None
        # Seconds that its other work took since the last check, which explain a late one.
        self.busy = 0.0

    @property
    def is_alert(self):
        """Whether it wakes by itself within a second, so that a log call need not wake it."""
        outbox = self._outbox
        return outbox.unsynced or outbox.refusal is not None or outbox.has_unreported

    def step(self, now):
        """Do what is due; return how many seconds to wait, None if nothing will be due."""
        native.check()
        waits = self._check_heartbeats(now) + self._write_totals(now) + self._tell_held_back(now)
        waits.extend(self._measure(now))
        self._keep_safe(now)
        if self.is_alert:
            waits.append(0.0 if self._looked is None else self._looked + SYNC_SECONDS - now)
        return max(0.01, min(waits)) if waits else None

    def _check_heartbeats(self, now):
        """Check every watchdog that is due; return how long to wait for each."""
        waits, busy = [], self.busy
        for member in list(self._members.values()):
            for dog in monitors.watched(member):
                if dog.next_check(now) <= 0:
                    cpu, boot = _compat.process_cpu_seconds(), _compat.boot_clock()
                    for fact in dog.check(watchdog.Readings(now, cpu, boot), busy):
                        self._record(member, fact, dog.name)
                    self.busy = 0.0
                waits.append(dog.next_check(now))
        return waits

    def _write_totals(self, now):
        """Write the running totals that are due; return how long to wait for each session's."""
        waits = [member.totals.step(member, now) for member in list(self._members.values())]
        return [seconds for seconds in waits if seconds is not None]

    def _record(self, member, fact, name):
        is_hang = isinstance(fact, watchdog.Hang)
        event = hang_event(fact) if is_hang else recovery_event(fact)
        if name is not None:
            event["data"]["monitor"] = name
        body = redaction.own_event(member.redact, event)
        entry = member.place.entry
        if body is not None:
            self._outbox.append(entry, kinds.EVENT, body)
            self._nudge()
        self._outbox.update(entry, hung=int(any(dog.is_hung for dog in monitors.watched(member))))

    def _tell_held_back(self, now):
        """Tell what each session held back, once a minute is over; return how long to wait."""
        waits = []
        for member in list(self._members.values()):
            left = member.holding.seconds_left(now)
            if left is None:
                continue
            if left > 0 and member.abandoned_at is None:
                waits.append(left)
            else:
                recording.tell_held_back(member)
        return waits

    def _measure(self, now):
        """Record what is due of each process monitor; return how long to wait for each."""
        waits = []
        for member in list(self._members.values()):
            monitor = member.monitor
            if monitor is None or not monitor.is_running:
                continue
            for body in monitor.measure(now, member.redact):
                # Not by a log call, which would open a session again that is just being closed.
                self._outbox.append(member.place.entry, kinds.METRIC, body)
                self._nudge()
            waits.append(monitor.due - now)
        return waits

    def _keep_safe(self, now):
        outbox = self._outbox
        if outbox.closed:
            return
        outbox.take_in()
        if self.is_alert and (self._looked is None or now - self._looked >= SYNC_SECONDS):
            self._looked = now
            # Healed before the sync, so that what was written then is synced, too.
            if outbox.refusal is not None:
                outbox.upkeep.heal(self._spool.replacement)
            if outbox.unsynced:
                outbox.upkeep.sync()
                outbox.upkeep.rescue(self._spool.replacement)
                outbox.upkeep.shrink()
            outbox.upkeep.measure()
            outbox.report_drops()
        self.tidy_once()
        self.busy += max(0.0, _compat.monotonic() - now)

    def tidy_once(self):
        """Tidy the folder, unless that was done before or there is no file yet."""
        # Without a file of its own, the folder may be another user's.
        if not self._is_tidy and self._outbox.path != IN_MEMORY:
            self._is_tidy = True
            self._spool.tidy()


def hang_event(fact):
    """Return the fields of the event that reports a hang, with the stacks of all threads."""
    place = watchdog.place_of(fact.thread_ident)
    silence = u"no heartbeat for %.1f s" % fact.seconds_since_heartbeat
    return build.event(
        "application_appears_hung",
        {
            "seconds_since_heartbeat": fact.seconds_since_heartbeat,
            "timeout": fact.timeout,
            "stacks": watchdog.stacks(fact.thread_ident),
        },
        category="error",
        message=silence if place is None else u"%s, in %s" % (silence, place),
    )


def recovery_event(fact):
    """Return the fields of the event that reports the end of a hang."""
    return build.event(
        "application_recovered",
        {"hung_seconds": fact.hung_seconds},
        message=u"heartbeats again after %.1f s" % fact.hung_seconds,
    )
