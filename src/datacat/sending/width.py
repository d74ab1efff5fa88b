"""How many records may be in flight at once: pure values, with `now` given.

Belongs here: how the width of windows grows and shrinks.  Does not: sending them, clocks.

1. The first windows are narrow, and stay so until a read-back has shown once that the server
   applies requests in the order in which it gets them.  Answers in order do not prove that.
2. After that, each clean window doubles the width, up to the limit.
3. A connection that breaks halves it, down to 1: what was not answered then waits for two seconds,
   which costs more than many round trips.  Single records that go well double a width that is
   narrower than at first.  A refusal makes it 1 for a while, and longer each time.
4. If the server applies requests out of order, it is 1 for good.
5. A window takes about two seconds on the line, by the rate at which earlier ones went through.
   On a metered line it is no larger than what may go out at once.
"""

from __future__ import absolute_import, division

LIMIT = 64
NARROW = 4
WIDE = 8
BYTES = 256 * 1024
_FIRST_BYTES = 16 * 1024
SECONDS = 2.0
# Single records that go well before the width is doubled.
SINGLES = 16
# Clean windows before the order is checked.
WINDOWS_CHECKED = 3
SHORTEST_COOL_DOWN = 60.0
LONGEST_COOL_DOWN = 600.0


class Width(object):
    """How many records, and how many bytes, a window to one server may have.

    :param limit: the largest number of records; 1 turns windows off.
    :param most_bytes: the largest number of bytes.
    :ivar limit: the same.
    :ivar is_checked: whether the server was seen to apply requests in order.
    """

    def __init__(self, limit, most_bytes=BYTES):
        self.limit = limit
        self._most_bytes = most_bytes
        self._records = min(NARROW, limit)
        self._rate = None
        self._singles = 0
        self.is_checked = False
        self._is_one = limit == 1
        self._cool_down = SHORTEST_COOL_DOWN
        self._cool_until = 0.0

    def records(self, now):
        """Return how many records may be in flight at `now` (monotonic seconds)."""
        return 1 if self._is_one or now < self._cool_until else self._records

    @property
    def bytes(self):
        """How many bytes a window may have."""
        if self._rate is None:
            return min(_FIRST_BYTES, self._most_bytes)
        return int(max(1024, min(self._most_bytes, SECONDS * self._rate)))

    @property
    def rate(self):
        """How many bytes a second went through; None if unknown."""
        return self._rate

    def expect(self, rate):
        """Begin with a rate that earlier runs have seen, in bytes a second."""
        self._rate = rate

    def went_well(self, records, size, seconds):
        """Note that a window was answered without any trouble.

        :param records: how many it had.
        :param size: how many bytes.
        :param seconds: how long it took.
        """
        rate = size / max(seconds, 0.001)
        # A small one says nothing about the most that the line carries.
        is_full = size * 2 > self.bytes
        self._rate = rate if is_full or self._rate is None else max(rate, self._rate)
        if records >= self._records and (self.is_checked or self._records < NARROW):
            self._records = min(self.limit, self._records * 2)
            if self._records == self.limit:
                self._cool_down = SHORTEST_COOL_DOWN

    def one_went_well(self):
        """Note that a record was delivered that went alone."""
        if self._records < NARROW:
            self._singles += 1
            if self._singles >= SINGLES:
                self._records = min(2 * self._records, NARROW, self.limit)
                self._singles = 0

    def keeps_order(self):
        """Note that the server was seen to apply requests in order."""
        self.is_checked = True
        self._records = min(self.limit, max(WIDE, self._records))

    def turn_off(self):
        """Send records one by one from now on."""
        self._is_one = True

    def broke(self):
        """Note that a connection broke in the middle of a window."""
        self._records = max(1, self._records // 2)
        self._singles = 0
        if self._rate is not None:
            # Perhaps the line got slower.
            self._rate /= 2

    def refused(self, now):
        """Note that a request of a window was refused, and later ones may not have been."""
        self._cool_until = now + self._cool_down
        self._cool_down = min(LONGEST_COOL_DOWN, 2 * self._cool_down)
        self._records = min(NARROW, self.limit)
