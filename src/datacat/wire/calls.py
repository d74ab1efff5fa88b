"""One wire call: its bounds, how far it got, and its answer, whatever carries it.

Belongs here: what holds with and without requests.  Does not: sockets, errors.
"""

from __future__ import absolute_import, division

import socket
import threading
from collections import namedtuple

from .._compat import monotonic

Response = namedtuple("Response", "status headers body")

LONGEST_ANSWER = 64 * 1024

in_thread = threading.local()


class Call(object):
    """The bounds of one wire call, and how far it got. Use it in one thread, by `with`.

    :param deadline: seconds from now for the whole call.
    :ivar touched: whether a connection of ours got the request; until then nothing was sent.
    :ivar handed_over: whether the request is out and the answer awaited.
    :ivar broken: whether the system refused a part of the request.
    :ivar problem: the error with which connecting failed, or None.
    :ivar is_ending: whether the last wait was bounded by the deadline, not by the timeout.
    :ivar pace: bytes that buy it another second as they arrive; None: its deadline is fixed.
    """

    __slots__ = (
        "deadline",
        "touched",
        "handed_over",
        "broken",
        "problem",
        "is_ending",
        "pace",
        "_until",
        "_outer",
    )

    def __init__(self, deadline):
        self.deadline = deadline
        self._until = monotonic() + deadline
        self.touched = False
        self.handed_over = False
        self.broken = False
        self.problem = None
        self.is_ending = False
        self.pace = None

    def __enter__(self):
        # A finalizer may make a call in the middle of its thread's current one.
        self._outer = getattr(in_thread, "call", None)
        in_thread.call = self
        return self

    def __exit__(self, *_):
        in_thread.call = self._outer
        self._outer = None

    def at_most(self, seconds):
        """Return `seconds` (None: no limit), or what is left of the call if that is less.

        :raises socket.timeout: if nothing is left.
        """
        left = self._until - monotonic()
        self.is_ending = seconds is None or left < seconds
        if left <= 0:
            raise socket.timeout("the total deadline of %g s has passed" % self.deadline)
        return left if self.is_ending else seconds

    @property
    def how_it_ended(self):
        """What to say of a wait that the deadline ended (text)."""
        return u"the deadline of %g s has passed" % self.deadline

    def arrived(self, count):
        """Note that so many bytes of the answer arrived."""
        if self.pace is not None:
            self._until += count / self.pace
