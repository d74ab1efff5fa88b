"""How long log calls took, and the promise that they never hold up the application.

Belongs here: what the recorder measures, and what is asserted of it.  Does not: anything else.
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
    """Return how many seconds threads of this process have waited for a processor.

    The second number of /proc/<task>/schedstat (Linux, proc(5)); 0.0 where there is none.  The
    library cannot help the time that other programs take.
    """
    return sum(_run_delays().values()) / 1e9


class Starving(object):
    """How long a call, from now on, waits because no processor is free.

    Counts the wait of its own thread and of one other, which may hold the lock that the call
    waits for.  That further threads wait does not excuse a slow call.
    """

    def __init__(self):
        self._before = _run_delays()

    def seconds(self):
        """Return it in seconds, for the thread that asks."""
        delays = _run_delays()
        waited = dict((task, delay - self._before.get(task, 0)) for task, delay in delays.items())
        own = waited.pop(_own_task(), 0)
        return (own + max([0] + list(waited.values()))) / 1e9


def _own_task():
    try:
        return os.path.basename(os.readlink("/proc/thread-self"))
    except (AttributeError, OSError):
        return None


def _run_delays():
    try:
        return dict((task, _run_delay(task)) for task in os.listdir(_TASKS))
    except (IOError, OSError):
        return {}


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
    """Return the seconds that each returned call took, without starving, sorted."""
    return sorted(
        max(0.0, call.ended - call.began - max(0.0, call.starved))
        for call in read_accepted(files).values()
        if call.outcome == RETURNED
    )


def check_bounds(files, longest=HEALTHY_DISK, usual=USUAL):
    """Assert that log calls kept their promised times.

    usual: seconds that 99 of 100 calls may take; only checked from 100 calls on.
    """
    took = durations(files)
    assert took, "no call returned"
    most = took[min(len(took) - 1, int(len(took) * 0.99))]
    assert took[-1] <= longest, "of %d calls one took %.1f ms" % (len(took), took[-1] * 1000)
    assert len(took) < FEWEST_FOR_USUAL or most <= usual, "1%% of %d calls took over %.1f ms" % (
        len(took),
        most * 1000,
    )
