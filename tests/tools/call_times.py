"""How long log calls took, and the promise that they were in nobody's way.

Here may live what the recorder measures and what is asserted of it, and nothing else.
"""
from __future__ import absolute_import, division

import os

from tools.invariants import RETURNED, read_accepted

HEALTHY_DISK = 0.050  # seconds that a log call may take
SICK_DISK = 0.250
USUAL = 0.005  # seconds that 99 of 100 calls may take
FEWEST_FOR_USUAL = 100

_TASKS = "/proc/self/task"


def seconds_starved():
    """Return for how many seconds threads of this process have waited for a processor.

    The second number of /proc/<task>/schedstat (Linux, proc(5)); 0.0 where there is none. The
    time that others take the machine's processors away is not the library's.
    """
    nanoseconds = 0
    try:
        for task in os.listdir(_TASKS):
            nanoseconds += _run_delay(task)
    except (IOError, OSError):
        return 0.0
    return nanoseconds / 1e9


def _run_delay(task):
    try:
        descriptor = os.open("%s/%s/schedstat" % (_TASKS, task), os.O_RDONLY)
    except (IOError, OSError):
        return 0  # the thread has ended meanwhile
    try:
        return int(os.read(descriptor, 100).split()[1])
    finally:
        os.close(descriptor)


def durations(files):
    """Return how long each call that returned took, in seconds, sorted, without starving."""
    return sorted(
        max(0.0, call.ended - call.began - max(0.0, call.starved))
        for call in read_accepted(files).values() if call.outcome == RETURNED)


def check_bounds(files, longest=HEALTHY_DISK, usual=USUAL):
    """Assert that log calls did not hold up the application past the promised times.

    usual: seconds that 99 of 100 calls may take; looked at from 100 calls on.
    """
    took = durations(files)
    assert took, "no call returned"
    most = took[min(len(took) - 1, int(len(took) * 0.99))]
    assert took[-1] <= longest, "of %d calls one took %.1f ms" % (len(took), took[-1] * 1000)
    assert len(took) < FEWEST_FOR_USUAL or most <= usual, "1%% of %d calls took over %.1f ms" % (
        len(took), most * 1000)
