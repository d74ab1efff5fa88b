"""Holding back records of a session, and telling the server how many.

Belongs here: the decisions of `records.flood` for any thread of any process.  Does not: these
decisions, and when the keeper tells.
"""

from __future__ import absolute_import, division

import random
from os import getpid

from .. import locks
from .._compat import monotonic
from ..records import exceptions, flood, kinds, redaction
from ..stack import RecoverableOverflow, try_with_room


class Holding(object):
    """What a session holds back, for each process by itself.

    Thread-safe, and safe in signal handlers, finalizers and forked children.

    :param settings: the session's Settings.
    """

    def __init__(self, settings):
        self._limits = dict(settings.max_per_minute)
        self._shares = dict(settings.sample)
        self.limits_exceptions = self._limits[kinds.EXCEPTION] is not None
        others = self._limits[kinds.EVENT], self._limits[kinds.METRIC]
        self.limits_others = bool(self._shares) or others != (None, None)
        # {process id: (Flood, its lock)}: in a child, another thread of the parent may have the
        # parent's lock.
        self._of_processes = {}

    @property
    def held_back(self):
        """How many records this process has held back (int)."""
        return self._here()[0].held_back

    @property
    def has_untold(self):
        """Whether something was held back that is not told yet."""
        return self.seconds_left(0.0) is not None

    def _here(self):
        found = self._of_processes.get(getpid())
        if found is None:
            # Drawn from numbers of its own: an application may have seeded Python's.
            draw = random.Random().random if self._shares else None
            made = flood.Flood(self._limits, self._shares, draw), locks.RLock()
            found = self._of_processes.setdefault(getpid(), made)
        return found

    def holds_back(self, key):
        """Return (whether to hold back a record, whether it is the first that is not told yet)."""
        here, lock = self._here()
        if locks.is_owned(lock):
            # This call interrupts another one in the middle of its decision.
            return False, False
        decided = []

        def decide():
            is_first = here.untold_since is None
            is_held = here.holds_back(key, monotonic())
            decided.append((is_held, is_held and is_first))

        locks.run_holding(lock, decide)
        return decided[0]

    def seconds_left(self, now):
        """Return in how many seconds to tell what was held back, None if nothing was."""
        if not self._of_processes:
            return None
        since = self._here()[0].untold_since
        return None if since is None else since + flood.MINUTE - now

    def take(self, redact):
        """Return the body of the event that tells what was held back since the last one.

        :param redact: what it passes through, or None.
        :returns: None if nothing was held back, or if `redact` drops it.
        """
        here, lock = self._here()
        if here.untold_since is None or locks.is_owned(lock):
            return None
        told = []
        locks.run_holding(lock, lambda: told.append(here.tell(monotonic())))
        return None if told[0] is None else redaction.own_event(redact, told[0])


def make(member):
    """Return what holds back a session's records, and what these pass through.

    :param member: a Membership with `settings` and `redact`.
    :returns: its Holding, and a callable (kind, fields, encode) that returns the body to record,
        or None if the record is held back or dropped; None instead if nothing has to pass through.
    """
    holding, redact = Holding(member.settings), member.redact
    pass_on = None if redact is None else redact.body
    if not holding.limits_others:
        return holding, pass_on

    def screen(kind, fields, encode):
        if kind in (kinds.EVENT, kinds.METRIC) and _holds_back(member, flood.key_of(kind, fields)):
            return None
        return encode(fields) if pass_on is None else pass_on(kind, fields, encode)

    return holding, screen


def holds_back_exception(member, exc_info):
    """Return whether to hold back what is recorded of an exception."""
    if not member.holding.limits_exceptions:
        return False
    return _holds_back(member, flood.key_of_exception(*exceptions.name_and_place(exc_info)))


def _holds_back(member, key):
    is_held, is_first = member.holding.holds_back(key)
    if is_first:
        try:
            member.attend()
        except RecoverableOverflow:
            # Not raised: the call would be made again, and the record counted twice.
            try_with_room(member.attend)
    return is_held
