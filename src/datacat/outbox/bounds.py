"""How large a spool may grow, and what goes first when it is reached.

What may live here: the limits, measuring against them, and the order of sacrifice on disk.  What
may not: SQL, locks, and what the loss of a record leads to.
"""

from __future__ import absolute_import, division

import os

from .. import _compat
from ..records import kinds, merging
from .memory import ROW_OVERHEAD, SACRIFICED

DEAD_BYTES = 4 * 1024 * 1024
DEAD_SECONDS = 30 * 86400
RESERVE = "-reserve"
RESERVE_BYTES = 256 * 1024
_PIECE_BYTES = 4096
UNTOUCHED_SHARE = 0.05
# However much the other outboxes of the spool hold, a process may have this.
LEAST_BYTES = 1024 * 1024
_SLICE_ROWS = 500


def is_disk_nearly_full(path, wanted=0):
    """Return whether `wanted` bytes more would reach into the disk's last 5%."""
    space = _compat.disk_space(os.path.dirname(path))
    return space is not None and space[1] - wanted < space[0] * UNTOUCHED_SHARE


def has_room_for(path, wanted):
    """Return whether the disk can take `wanted` bytes more at all."""
    space = _compat.disk_space(os.path.dirname(path))
    return space is None or space[1] >= wanted


def share(path, max_bytes):
    """Return how many bytes this outbox may have, given the others of its spool."""
    folder, name = os.path.split(path)
    scope = name.split("-")[0]
    others = 0
    try:
        for other in os.listdir(folder):
            if other.startswith(scope) and not other.startswith(name):
                others += os.path.getsize(os.path.join(folder, other))
    except OSError:
        pass
    return max(max_bytes - others, min(LEAST_BYTES, max_bytes))


class Reserve(object):
    """A file that takes room for nothing, to be given back when the disk is full.

    What is delivered while the disk is full must be noted too, and deleting a row needs room.
    """

    def __init__(self, path):
        self._path = path + RESERVE

    def keep(self):
        """Take the room, where it can be had."""
        try:
            if os.path.exists(self._path):
                return
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            descriptor = os.open(self._path, flags, 0o600)
            try:
                if hasattr(os, "fchmod"):
                    os.fchmod(descriptor, 0o600)
                # In pieces, for memory may be what was scarce.
                for _ in range(RESERVE_BYTES // _PIECE_BYTES):
                    os.write(descriptor, b"\0" * _PIECE_BYTES)
            finally:
                os.close(descriptor)
        except OSError:
            self.free()

    def free(self):
        """Give the room back."""
        try:
            os.remove(self._path)
        except OSError:
            pass


class Sweep(object):
    """Finds what to sacrifice next, a slice at a time, because log calls wait meanwhile.

    First state updates that lie next to each other are merged, where the merge cannot change the
    result; then the oldest metrics go, the oldest events, the oldest exceptions, and the oldest
    states where all that was not enough.  Open, end and crash stay.
    """

    def __init__(self):
        self._places = {}

    def next(self, store, heads, wanted):
        """Return (session, records that replace others, numbers that go, whether these are lost).

        Both may be empty: then the next slice may have something.  None where nothing is left.

        :param heads: {session: number of its oldest record, which may be on its way and stays},
            the oldest session first.
        :param wanted: how many bytes are to become free.
        """
        for kind in (None,) + SACRIFICED:
            for session, head in heads.items():
                place = max(self._places.get((kind, session), 0), head)
                rows = store.outline(session, place, _SLICE_ROWS)
                if kind is None:
                    replaced, gone = self._merge(store, session, place, rows)
                else:
                    replaced, gone = [], self._doom(session, place, rows, kind, wanted)
                if gone or len(rows) == _SLICE_ROWS:
                    return session, replaced, gone, kind is not None
        return None

    def _doom(self, session, place, rows, kind, wanted):
        gone = []
        for number, found, size in rows:
            if wanted <= 0:
                break
            place = number
            if found == kind:
                gone.append(number)
                wanted -= size + ROW_OVERHEAD
        self._places[kind, session] = place
        return gone

    def _merge(self, store, session, place, rows):
        """Merge the first neighbours that are found, and leave the place at the last of them."""
        pairs = [
            number
            for (number, kind, _), (_, following, _) in zip(rows, rows[1:])
            if kind == following == kinds.STATE
        ]
        # A state at the end may get a neighbour yet.
        self._places[None, session] = rows[-1][0] - 1 if rows else place
        if not pairs:
            return [], []
        page, _ = store.page(session, pairs[0] - 1)
        if len(page) > 1:
            self._places[None, session] = page[-1].number - 1
        return merging.merge_neighbours(page, head=None)
