"""How large a spool may grow, and what is dropped first when it does.

Belongs here: the limits, measuring against them, and the order of sacrifice on disk.  Does not:
SQL, locks, and what the loss of a record leads to.
"""

from __future__ import absolute_import, division

import os

from .. import _compat
from ..records import kinds, merging
from . import names
from .memory import ROW_OVERHEAD, SACRIFICED
from .ownership import has_owner

DEAD_BYTES = 4 * 1024 * 1024
DEAD_SECONDS = 30 * 86400
RESERVE = "-reserve"
RESERVE_BYTES = 256 * 1024
# A smaller outbox has no reserve: many of them would take more room than what they keep.
LEAST_WITH_RESERVE = 64 * 1024
_PIECE_BYTES = 4096
# What is left of a disk, the smaller of both: on a large disk 5% would be a lot.
_UNTOUCHED_SHARE = 0.05
_UNTOUCHED_BYTES = 1024 * 1024 * 1024
# Every process may use this much, however full the spool.
LEAST_BYTES = 1024 * 1024
_SLICE_ROWS = 500
_SLICE_SESSIONS = 50


def is_disk_nearly_full(path, wanted=0):
    """Return whether `wanted` bytes more would reach into what must be left of the disk."""
    space = _compat.disk_space(os.path.dirname(path))
    if space is None:
        return False
    size, free = space
    return free - wanted < min(size * _UNTOUCHED_SHARE, _UNTOUCHED_BYTES)


def has_room_for(path, wanted):
    """Return whether the disk can take `wanted` bytes more at all."""
    space = _compat.disk_space(os.path.dirname(path))
    return space is None or space[1] >= wanted


def share(path, max_bytes):
    """Return how many bytes this outbox may take, given the others of its spool.

    Another application's outbox counts only if that does not run: otherwise it keeps to a bound of
    its own.  On the way, the reserves of dead processes are freed.
    """
    others, is_apart = 0, {}
    for one in _beside(path):
        other = names.outbox_of(one)
        if other is None or other == path:
            continue
        if one == other + RESERVE and has_owner(other) is False:
            Reserve(other).free()
            continue
        if other not in is_apart:
            is_foreign = names.scope_of(other) != names.scope_of(path)
            is_apart[other] = is_foreign and has_owner(other, ours=True)
        if not is_apart[other]:
            others += size_of(one)
    return max(max_bytes - others, min(LEAST_BYTES, max_bytes))


def _beside(path):
    folder = os.path.dirname(path)
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except OSError:
        return []


def size_of(path):
    """Return how many bytes a file has, 0 if it is gone."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


class Reserve(object):
    """A file that only takes up space, to be freed when the disk is full.

    Deliveries must still be noted then, and even deleting a row needs space.
    """

    def __init__(self, path):
        self._path = path + RESERVE

    def keep(self, size):
        """Make the file, if there is space for it and the outbox is large enough to have one.

        :returns: whether it is there.

        :param size: how many bytes are in use in the outbox.
        """
        try:
            if size < LEAST_WITH_RESERVE or os.path.exists(self._path):
                return size >= LEAST_WITH_RESERVE
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            descriptor = os.open(self._path, flags, 0o600)
            try:
                if hasattr(os, "fchmod"):
                    os.fchmod(descriptor, 0o600)
                # In pieces: memory may be what was scarce.
                for _ in range(RESERVE_BYTES // _PIECE_BYTES):
                    os.write(descriptor, b"\0" * _PIECE_BYTES)
            finally:
                os.close(descriptor)
            return True
        except OSError:
            self.free()
            return False

    def free(self):
        """Remove it."""
        try:
            os.remove(self._path)
        except OSError:
            pass


class Sweep(object):
    """Finds what to sacrifice next, a slice at a time, because log calls wait meanwhile.

    Adjacent state updates are merged first, if that cannot change the result.  Then the oldest
    metrics are dropped, the oldest events, the oldest exceptions and, if all that was not enough,
    the oldest states.  Open, end, crash and reports stay, and so does whatever may be in flight.
    """

    def __init__(self):
        # {(kind, session): the number up to which the session was searched for it}
        self._places = {}

    def next(self, store, entries, wanted):
        """Return (entry, records that replace others, numbers to delete, whether these are lost).

        The second and third may both be empty; then the next slice may have something.  None means
        that nothing is left to sacrifice.

        :param entries: the sessions' entries, the oldest session first.
        :param wanted: how many bytes to free.
        """
        searched = 0
        for kind in (None,) + SACRIFICED:
            for entry in entries:
                place = max(
                    self._places.get((kind, entry.number), 0), entry.position, entry.handed
                )
                if place >= entry.accepted - (kind is None):
                    continue
                rows = store.outline(entry.number, place, _SLICE_ROWS)
                if kind is None:
                    replaced, gone = self._merge(store, entry, place, rows)
                else:
                    replaced, gone = [], self._doom(entry, rows, kind, wanted)
                searched += 1
                if gone or len(rows) == _SLICE_ROWS or searched == _SLICE_SESSIONS:
                    return entry, replaced, gone, kind is not None
        return None

    def _doom(self, entry, rows, kind, wanted):
        gone, place = [], entry.accepted
        for number, found, size in rows:
            if wanted <= 0:
                place = number - 1
                break
            if found == kind:
                gone.append(number)
                wanted -= size + ROW_OVERHEAD
        else:
            if len(rows) == _SLICE_ROWS:
                place = rows[-1][0]
        self._places[kind, entry.number] = place
        return gone

    def _merge(self, store, entry, place, rows):
        """Merge the first adjacent states found; the next search begins at the last of them."""
        pairs = [
            number
            for (number, kind, _), (_, following, _) in zip(rows, rows[1:])
            if kind == following == kinds.STATE
        ]
        # A state at the end may still get a neighbour.
        end = rows[-1][0] if len(rows) == _SLICE_ROWS else entry.accepted
        self._places[None, entry.number] = max(place, end - 1)
        if not pairs:
            return [], []
        page, _ = store.page(entry.number, pairs[0] - 1)
        if len(page) > 1:
            self._places[None, entry.number] = page[-1].number - 1
        return merging.merge_neighbours(page)
