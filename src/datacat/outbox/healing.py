"""How a disk that refused comes back to health.

1. A file that is damaged, deleted or was never there is replaced.  Then the disk is REFUSING.
2. What happened while nothing could be written is written.  Then it is in SETTLES_FIT.
3. What waits in memory is written, up to 1,000 records a call.  After the last it is HEALTHY.
4. Steps 2 and 3 can be interrupted anywhere and repeated from their start, with the same result:
   they delete up to positions, replace rows by their numbers, and save absolute counts.
5. So can step 1: until the disk has moved, it has the old file, which is open (see `replacing`).

Belongs here: these steps.  Does not: when they are taken (see `upkeep`), SQL, locks.
"""

from __future__ import absolute_import, division

from .. import errors
from . import bounds, replacing
from .disk import CAUGHT_UP, WITHOUT_FILE

_HEALED_AT_ONCE = 1000


def heal(disk, entries, replace):
    """Take the next step back to health; return whether it succeeded.

    :param disk: the Disk.
    :param entries: the sessions' entries.
    :param replace: a callable (store) -> a new Store in its place; None: do not replace the file.
    """
    try:
        if disk.state in WITHOUT_FILE:
            return _replace(disk, replace)
        _catch_up(disk, entries)
        return _write_some(disk)
    except errors.DatacatError as error:
        disk.refused(error)
        return False


def _replace(disk, replace):
    if replace is None or disk.store.is_final:
        return False
    old = disk.store
    disk.move_to(replace(old))
    replacing.discard(old)
    return True


def _catch_up(disk, entries):
    """Write what happened while nothing could be written."""
    for entry in entries:
        # Removes records that are already out, if that ran out of memory halfway.
        disk.memory.first(entry.number, entry.position)
    _return_log_space(disk)
    disk.unwritten.write(disk.store, entries)
    disk.enter(CAUGHT_UP, disk.refusal)
    _return_log_space(disk)


def _return_log_space(disk):
    """Checkpoint: the write-ahead log may take the very space that is missing."""
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
