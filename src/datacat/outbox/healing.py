"""How a disk that refused comes back to health.

1. A file that is damaged, deleted or was never there is replaced (the disk is REFUSING then).
2. What was settled while nothing could be written is written (SETTLES_FIT).
3. What waits in memory is written, some records a call; after the last the disk is HEALTHY.

Each of these is repeated from its start after an interruption, with the same result: it deletes
up to positions, replaces rows by their numbers, and saves absolute counts.

Belongs here: these steps.  Does not: when they are taken (see `upkeep`), SQL, locks.
"""

from __future__ import absolute_import, division

from .. import errors
from . import bounds
from .disk import REFUSING, SETTLES_FIT, WITHOUT_FILE, next_state
from .refusals import StoreRefused

_HEALED_AT_ONCE = 1000


def heal(disk, entries, replace):
    """Take the next step back to health; return whether it was one.

    :param disk: the Disk.
    :param entries: the sessions' entries.
    :param replace: a callable (store) -> a new Store in its place; None: only write.
    """
    try:
        if disk.state in WITHOUT_FILE:
            return _replace(disk, replace)
        _catch_up(disk, entries)
        return _write_some(disk)
    except errors.DatacatError as error:
        disk.state = next_state(disk.state, error)
        if disk.state not in WITHOUT_FILE:
            disk.refusal = error
        return False


def _replace(disk, replace):
    if replace is None or disk.store.is_final:
        return False
    fresh = replace(disk.store)
    disk.move_to(fresh)
    disk.state = REFUSING
    disk.refusal = StoreRefused("the outbox has just moved to %s" % disk.path)
    return True


def _catch_up(disk, entries):
    """Write what was settled while nothing could be written."""
    for entry in entries:
        # Removes what is out already, where want of memory cut that short.
        disk.memory.first(entry.number, entry.position)
    _return_log_space(disk)
    disk.unwritten.write(disk.store, entries)
    disk.state = SETTLES_FIT
    _return_log_space(disk)


def _return_log_space(disk):
    """The room that the write-ahead log takes may be the very room that is missing."""
    if bounds.has_room_for(disk.path, disk.store.growth()):
        disk.store.checkpoint()


def _write_some(disk):
    if bounds.is_disk_nearly_full(disk.path, disk.memory.bytes + bounds.RESERVE_BYTES):
        return False
    some = disk.memory.some(_HEALED_AT_ONCE)
    disk.store.insert_all(some, replacing=True)
    disk.changed += 1
    for record in some:
        disk.memory.take_out(record.session, record.number)
    if not len(disk.memory):
        _return_log_space(disk)
        disk.has_healed()
    return True
