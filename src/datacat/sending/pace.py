"""How fast requests that deliver records go through.

Belongs here: what recent ones took, and the best that was seen.  Does not: clocks, what follows
from it (`backlog`), how many go together (`width`).
"""

from __future__ import absolute_import, division

# The head of a request, about.
HEAD_BYTES = 300
# The weight of the latest exchange.
_LATEST = 1 / 8
_SHORTEST = 0.001


class Pace(object):
    """How fast requests have gone through since the server was last away.

    :ivar seconds: what each request took lately; None before the first.
    :ivar rate: how many bytes a second went out lately.
    :ivar together: how many requests lately shared an exchange.
    :ivar quickest: what the quickest exchange took, in seconds.
    :ivar fastest: the highest rate of an exchange.
    """

    __slots__ = ("seconds", "rate", "together", "quickest", "fastest")

    def __init__(self):
        self.seconds = None
        self.rate = self.together = self.fastest = 0.0
        self.quickest = float("inf")

    def note(self, sizes, seconds, beside=0):
        """Note an exchange that went well.

        :param sizes: the length of each request's body.
        :param seconds: what all of them took.
        :param beside: how many bytes went out besides.
        """
        count = len(sizes)
        rate = (sum(sizes) + count * HEAD_BYTES + beside) / max(seconds, _SHORTEST)
        self.quickest = min(self.quickest, seconds)
        self.fastest = max(self.fastest, rate)
        if self.seconds is None:
            self.seconds, self.rate, self.together = seconds / count, rate, count
        self.seconds += _LATEST * (seconds / count - self.seconds)
        self.rate += _LATEST * (rate - self.rate)
        self.together += _LATEST * (count - self.together)
