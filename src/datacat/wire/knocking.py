"""Knocking: whether anybody listens at a server's address, found without requests.

Belongs here: a bare connect, and whether one would tell anything.  Does not: TLS, requests, when
to knock.
"""

from __future__ import absolute_import, division

import os
import socket
import sys

import six
from six.moves.urllib import parse

from ..descriptors import Descriptors
from ..errors import NotSent
from . import causes, dialing

UNREACHABLE = u"could not reach %s: %s; check base_url and proxies, and that the server is running"
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Warning: an application may turn warnings into errors.
_FAULTS = (EnvironmentError, ValueError, MemoryError, Warning)
_KEEPS_PROXIES = ("win32", "darwin")


class Knock(object):
    """The connection that was made by knocking; the first request may have it.

    :param dialed: a connected socket.
    """

    def __init__(self, dialed):
        self._dialed = dialed
        self._descriptors = Descriptors(dialed.fileno())

    def take(self, options, seconds):
        """Return the socket; None if it was taken, or the server has closed it.

        :param options: arguments of `setsockopt`, a list.
        :param seconds: its timeout from now on.
        """
        dialed, self._dialed = self._dialed, None
        if dialed is None:
            return None
        if not self._descriptors.are_ours() or dialing.has_news(dialed):
            dialing.close(dialed, self._descriptors)
            return None
        for option in options or ():
            dialed.setsockopt(*option)
        dialed.settimeout(seconds)
        return dialed

    def close(self):
        """Close it, unless it was taken."""
        dialed, self._dialed = self._dialed, None
        if dialed is not None:
            dialing.close(dialed, self._descriptors)


def tells(settings):
    """Return whether a request would certainly go to the server itself, and through no proxy."""
    return not (settings.proxies or (settings.trust_env and _may_have_proxies()))


def _may_have_proxies():
    # Not by the standard library: importing that part of it costs a fifth of importing requests.
    for name, value in os.environ.items():
        if value and name.lower().endswith("_proxy") and name.lower() != "no_proxy":
            return True
    if sys.platform in _KEEPS_PROXIES:
        from six.moves.urllib import request

        return bool(request.getproxies())
    return False


def knock(settings, request, call, seconds, retries, note_found):
    """Connect to the server, and return a Knock.

    :param request: for which the connection is.
    :param call: the current Call.
    :param seconds: how long to wait.
    :param retries: how often to try again if nothing answers.
    :param note_found: a callable that gets what getaddrinfo returned.
    :raises NotSent: if nobody listens; in the words in which it is told when requests finds out.
    """
    url = six.ensure_str(settings.base_url)
    is_late = True
    while is_late and retries >= 0:
        try:
            return Knock(_dial(url, call, seconds, note_found))
        except _FAULTS as fault:
            is_late = isinstance(fault, socket.timeout)
            cause = call.how_it_ended if is_late and call.is_ending else causes.message_of(fault)
        retries -= 1
    # Out here: without the other error as its __context__.
    raise NotSent(UNREACHABLE % (url, cause), method=request.method, path=request.path)


def _dial(base_url, call, seconds, note_found):
    parts = parse.urlsplit(base_url)
    where = (parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])
    call.at_most(seconds)
    found = socket.getaddrinfo(where[0], where[1], socket.AF_UNSPEC, socket.SOCK_STREAM)
    note_found(found)
    return dialing.dial(where, found, (), seconds, call.at_most)
