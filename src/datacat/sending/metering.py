"""A transport whose requests are counted against what may go out.

Belongs here: what of a call went out, about.  Does not: what follows from it (see `allowance`).
"""

from __future__ import absolute_import, division

from ..errors import CutShort, DatacatError, NotSent
from .pace import HEAD_BYTES


class MeteredTransport(object):
    """Stands in for a Transport; the arguments of its calls are the same.

    :param transport: a Transport.
    :param allowance: an Allowance.
    :param clock: a callable that returns monotonic seconds.
    """

    def __init__(self, transport, allowance, clock):
        self._transport = transport
        self._allowance = allowance
        self._clock = clock
        self.own_addresses = transport.own_addresses

    @property
    def rate(self):
        """As of a Transport."""
        return self._transport.rate

    @rate.setter
    def rate(self, value):
        self._transport.rate = value

    def call(self, request, **bounds):
        """Do as a Transport does."""
        began, error = self._clock(), None
        try:
            return self._transport.call(request, **bounds)
        except DatacatError as problem:
            error = problem
            raise
        finally:
            if error is None or _went_out(error):
                self._count([request], began)

    def call_all(self, requests, connects=False):
        """Do as a Transport does."""
        began = self._clock()
        responses, error = self._transport.call_all(requests, connects=connects)
        is_unanswered = error is not None and _went_out(error)
        self._count(requests if is_unanswered else requests[: len(responses)], began)
        return responses, error

    def _count(self, requests, now):
        size = sum(HEAD_BYTES + len(request.body or b"") for request in requests)
        self._allowance.sent(size, now)


def _went_out(error):
    """Return whether the request went out that failed so, at least a part of it."""
    return isinstance(error, CutShort) or not isinstance(error, NotSent)
