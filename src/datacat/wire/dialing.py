"""Connecting to one of several addresses, of which some may be dead (RFC 8305).

Belongs here: the order of addresses, head starts, and the race between them.  Does not: looking
up names, TLS, what a failure means.

1. Families take turns, and the address that worked last time goes first.
2. The first one has a head start of 250 ms; then the next one starts as well, and so on, or at
   once when one fails.  The first to be connected wins, and the others are closed.
3. All together have one bound.  A single address is connected to as ever.
"""

from __future__ import absolute_import, division

import errno
import os
import select
import socket

from .._compat import keep_forever, monotonic
from ..descriptors import Descriptors

HEAD_START = 0.25
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", None))
# {(host, port): the address that worked}.  Few: a process talks to few servers.
_worked = {}
_MOST_REMEMBERED = 32


def arranged(found, worked=None):
    """Return what getaddrinfo found with families taking turns.

    :param worked: an address that goes first, if it is among them.
    """
    families = []
    for each in found:
        if each[0] not in families:
            families.append(each[0])
    queues = [[each for each in found if each[0] == family] for family in families]
    in_turn = []
    while any(queues):
        in_turn.extend(queue.pop(0) for queue in queues if queue)
    return sorted(in_turn, key=lambda each: each[4] != worked)


def dial(key, found, options, timeout, at_most, clock=monotonic):
    """Return a connected socket.

    :param key: of what is connected to, to remember which address worked.
    :param found: what getaddrinfo returned.
    :param options: arguments of `setsockopt`, a list.
    :param timeout: how long to wait for all addresses together, in seconds.
    :param at_most: a callable (seconds) that returns how much of that is left, or raises
        socket.timeout.
    :raises EnvironmentError: why the last address failed; socket.timeout if none answered.
    """
    addresses = arranged(found, _worked.get(key))
    if len(addresses) == 1:
        return _dial_one(addresses[0], options, at_most(timeout))
    race = _Race(options)
    try:
        winner, address = race.run(addresses, timeout, at_most, clock)
    finally:
        race.close()
    if len(_worked) < _MOST_REMEMBERED or key in _worked:
        _worked[key] = address
    winner.settimeout(timeout)
    return winner


def _dial_one(found, options, timeout):
    dialed = _new_socket(found, options)
    descriptors = Descriptors(dialed.fileno())
    try:
        dialed.settimeout(timeout)
        dialed.connect(found[4])
    except EnvironmentError:
        close(dialed, descriptors)
        raise
    return dialed


def _new_socket(found, options):
    made = socket.socket(*found[:3])
    for option in options or ():
        made.setsockopt(*option)
    return made


class _Race(object):
    """Attempts to connect, side by side in one thread."""

    def __init__(self, options):
        self._options = options
        # {descriptor: (socket, Descriptors, address)}
        self._under_way = {}
        self._problem = socket.gaierror(socket.EAI_NONAME, "no address found")

    def run(self, addresses, timeout, at_most, clock):
        """Return (the socket that was connected first, its address)."""
        waiting, until = list(addresses), clock() + timeout
        next_start = clock()
        while waiting or self._under_way:
            now = clock()
            if waiting and (now >= next_start or not self._under_way):
                next_start = now + HEAD_START
                winner = self._start(waiting.pop(0))
                if winner is not None:
                    return winner
                continue
            left = at_most(until - now)
            if left <= 0:
                raise socket.timeout("timed out")
            winner = self._wait(min(left, next_start - now) if waiting else left)
            if winner is not None:
                return winner
        raise self._problem

    def close(self):
        """Close those that lost."""
        for dialed, descriptors, _ in self._under_way.values():
            close(dialed, descriptors)
        self._under_way.clear()

    def _start(self, found):
        try:
            dialed = _new_socket(found, self._options)
        except EnvironmentError as problem:
            self._problem = problem
            return None
        entry = (dialed, Descriptors(dialed.fileno()), found[4])
        dialed.setblocking(False)
        result = dialed.connect_ex(found[4])
        if result == 0:
            return dialed, found[4]
        if result in _UNDER_WAY:
            self._under_way[dialed.fileno()] = entry
        else:
            self._lost(entry, result)
        return None

    def _wait(self, seconds):
        for descriptor in _writable(self._under_way, seconds):
            entry = self._under_way.pop(descriptor)
            result = entry[0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if result == 0:
                return entry[0], entry[2]
            self._lost(entry, result)
        return None

    def _lost(self, entry, result):
        self._problem = socket.error(result, os.strerror(result))
        close(entry[0], entry[1])


def _writable(descriptors, seconds):
    """Return which of some descriptors can be written to, or have failed."""
    seconds = max(0.0, seconds)
    if hasattr(select, "poll"):
        # Not select: it takes no descriptor over 1023.
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLOUT)
        ready = _uninterrupted(poll.poll, int(seconds * 1000) + 1)
        return [descriptor for descriptor, _ in ready]
    # On Windows, failures are told as exceptional conditions.
    _, writable, failed = _uninterrupted(
        select.select, [], list(descriptors), list(descriptors), seconds
    ) or ([], [], [])
    return set(writable + failed)


def has_news(dialed):
    """Return whether a socket can be read: something came, or the other side closed it."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(dialed.fileno(), select.POLLIN)
        return bool(_uninterrupted(poll.poll, 0))
    return bool((_uninterrupted(select.select, [dialed.fileno()], [], [], 0) or [[]])[0])


def _uninterrupted(wait, *arguments):
    try:
        return wait(*arguments)
    except (EnvironmentError, select.error) as interrupted:  # Python 2.7 does not go on by itself
        if interrupted.args[0] != errno.EINTR:
            raise
        return []


def close(dialed, descriptors):
    """Close a socket, unless its descriptor is another file's by now."""
    if descriptors.are_ours():
        dialed.close()
    else:
        keep_forever(dialed)
