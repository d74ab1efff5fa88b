"""What must not wait for the network: heartbeat checks, the sync, healing, reports of loss.

What may live here: `Keeper.step(now)`.  What may not: requests, SQL, the verdict on a record.
"""

from __future__ import absolute_import, division

from .. import _compat
from ..records import build
from . import watchdog

# A power cut may take a second, of which waking up and the sync itself need a part.
SYNC_SECONDS = 0.75


class Keeper(object):
    """The steps of a pipeline's second thread.

    :param outbox: this process's own.
    :param replacement: a callable (store) -> a new Store with what can be read of the old one.
    :param append: a callable (outbox, entry, fields) that keeps an event and sees that
        it is sent.
    """

    def __init__(self, outbox, replacement, append):
        self._outbox = outbox
        self._replacement = replacement
        self._append = append
        self._watchdogs = {}
        self._looked = None
        self.busy = 0.0

    @property
    def is_alert(self):
        """Whether it wakes by itself soon enough for anything that may be appended now."""
        outbox = self._outbox
        return outbox.unsynced or outbox.refusal is not None or outbox.has_unreported

    def watch(self, entry, dog):
        """Check a session's heartbeats from now on."""
        self._watchdogs[entry] = dog

    def unwatch(self, entry):
        """Stop checking them."""
        self._watchdogs.pop(entry, None)

    def step(self, now):
        """Do what is due and return how long to wait, or None where nothing will be."""
        self._check_heartbeats(now)
        self._keep_safe(now)
        waits = [dog.next_check(now) for dog in list(self._watchdogs.values())]
        if self.is_alert:
            waits.append(0.0 if self._looked is None else self._looked + SYNC_SECONDS - now)
        return max(0.01, min(waits)) if waits else None

    def _check_heartbeats(self, now):
        for entry, dog in list(self._watchdogs.items()):
            if dog.next_check(now) > 0:
                continue
            readings = watchdog.Readings(now, _compat.process_cpu_seconds(), _compat.boot_clock())
            for fact in dog.check(readings, self.busy):
                self._record(entry, fact)
            self.busy = 0.0

    def _record(self, entry, fact):
        hung = isinstance(fact, watchdog.Hang)
        event = hang_event(fact) if hung else recovery_event(fact)
        self._append(self._outbox, entry, event)
        self._outbox.update(entry, hung=int(hung))

    def _keep_safe(self, now):
        outbox = self._outbox
        if outbox.closed:
            return
        outbox.take_in()
        if self.is_alert and (self._looked is None or now - self._looked >= SYNC_SECONDS):
            self._looked = now
            if outbox.refusal is not None:
                outbox.upkeep.heal(self._replacement)
            if outbox.unsynced:
                outbox.upkeep.sync()
                outbox.upkeep.rescue(self._replacement)
                outbox.upkeep.shrink()
            outbox.upkeep.measure()
            outbox.report_drops()
        self.busy += max(0.0, _compat.monotonic() - now)


def hang_event(fact):
    """Return the fields of the event that tells of a hang, with what all threads are doing."""
    return build.event(
        "application_appears_hung",
        {
            "seconds_since_heartbeat": fact.seconds_since_heartbeat,
            "timeout": fact.timeout,
            "stacks": watchdog.stacks(fact.thread_ident),
        },
        category="error",
    )


def recovery_event(fact):
    """Return the fields of the event that tells of a hang's end."""
    return build.event("application_recovered", {"hung_seconds": fact.hung_seconds})
