"""The way to one server: whether it works, and how long to pause if not.

Belongs here: what failures and successes say of the way, and what a change of this machine's
addresses says, with `now` given.  Does not: exchanges (`server`), sockets, warnings (`outage`).
"""

from __future__ import absolute_import, division

from ..wire import verdicts
from .pausing import Pausing

LOOK_SECONDS = 20.0


class Link(Pausing):
    """The way to one server: whether it works, and how long to pause if not.

    While the server cannot be reached, and the pause is longer than that, this machine's own
    addresses are looked at every 20 seconds.  One that was not there at the last look means that
    the network may be there again.

    :ivar ever_up: whether the server has ever answered.
    :ivar last_error: the latest DatacatError, or None.
    :ivar is_blip: whether the latest failure does not yet show that the server is away.
    :ivar failed_at: the monotonic time of the latest failure; 0.0 if there was none.
    :ivar look_due: the monotonic time of the next look; none is due in a pause that ends before.
    """

    __slots__ = (
        "ever_up",
        "last_error",
        "is_blip",
        "failed_at",
        "look_due",
        "_unreachable_since",
        "_addresses",
    )

    def __init__(self):
        super(Link, self).__init__()
        self.ever_up = False
        self.last_error = None
        self.is_blip = False
        self.failed_at = 0.0
        self.look_due = 0.0
        self._unreachable_since = None
        self._addresses = None

    @property
    def online(self):
        """Whether the server is there; None while that is unknown."""
        return False if self.failures and not self.is_blip else (self.ever_up or None)

    def failed(self, error, now, chance):
        """Note that the server could not be reached, or asked for a pause."""
        # First: whoever sees the failure in another thread compares this time.
        self.failed_at = now
        is_unreachable = verdicts.is_unreachable(error)
        if not is_unreachable:
            self._note_reached()
        elif self._unreachable_since is None:
            self._unreachable_since = now
        since = now if self._unreachable_since is None else self._unreachable_since
        super(Link, self).failed(error, now, chance, now - since)
        self.last_error = error
        self.is_blip = verdicts.is_blip(error, self.failures)
        # The first look is at once: the network may have come back during the attempt.
        is_long = self.due - now > LOOK_SECONDS
        self.look_due = now if is_unreachable and is_long else self.due

    def succeeded(self):
        """Note that the server answered as a datacat server does."""
        self.due = 0.0
        self.failures = 0
        self.ever_up = True
        self._note_reached()

    def obey(self, until):
        """Pause until a monotonic time, because the server asked for it.

        No change of this machine's addresses cuts that short.
        """
        self.wait(until)
        self.look_due = until

    def _note_reached(self):
        self._unreachable_since = None
        self._addresses = None

    def note_addresses(self, addresses, now):
        """Note this machine's own addresses; end the pause if there is a new one.

        The next pauses are short again: a network that is coming up may need some attempts.

        :param addresses: a tuple; None stands for a missing one.
        """
        self.look_due = now + LOOK_SECONDS
        known, self._addresses = self._addresses, addresses
        if known is not None and has_moved(known, addresses):
            self._unreachable_since = None
            self.hurry()


def has_moved(before, now):
    """Return whether this machine has an address that it had not.

    :param before: its addresses then; None stands for a missing one.
    :param now: its addresses now.
    """
    return any(address is not None and address not in before for address in now)
