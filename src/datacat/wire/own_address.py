"""This machine's own addresses on the way to a server, found without sending anything.

Belongs here: asking the system which address it would send from.  Does not: looking up names, when
to ask, what a change means.
"""

from __future__ import absolute_import, division

import socket

from ..descriptors import Descriptors
from . import dialing

# Reserved for documentation: like those of any server, but nobody's.
_ANYWHERE = (
    (socket.AF_INET, ("192.0.2.1", 9)),
    (socket.AF_INET6, ("2001:db8::1", 9, 0, 0)),
)


class Route(object):
    """The way to the addresses that the name of a server, or of its proxy, was last found to have.

    Until one was found: the way to anywhere.
    """

    def __init__(self):
        self._targets = _ANYWHERE

    def note(self, found):
        """Note what getaddrinfo returned."""
        targets = []
        for each in found:
            if each[0] not in [family for family, _ in targets]:
                targets.append((each[0], each[4]))
        self._targets = targets or self._targets

    def own_addresses(self):
        """Return this machine's own addresses, one for each family that the server has."""
        return own_addresses(self._targets)


def own_addresses(targets):
    """Return the own address towards each of some targets, None where there is no way.

    :param targets: (family, address) each, as getaddrinfo returns them.
    """
    return tuple(_own_address(family, address) for family, address in targets)


def _own_address(family, address):
    try:
        asking = socket.socket(family, socket.SOCK_DGRAM)
        descriptors = Descriptors(asking.fileno())
        try:
            # For UDP, this only chooses the route: no packet leaves.
            asking.connect(address)
            return asking.getsockname()[0]
        finally:
            dialing.close(asking, descriptors)
    except (EnvironmentError, TypeError, ValueError, OverflowError):
        return None
