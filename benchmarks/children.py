"""Applications as processes of their own, and their figures from /proc (Linux).

Belongs here: starting one, reading /proc.  Does not: conclusions.
"""

from __future__ import absolute_import, division

import json
import os
import subprocess
import sys

_START = """
import json, os, sys, time
sys.path[:0] = %r
from benchmarks import children
"""


def run(source, *arguments):
    """Run a program's source in a new interpreter; return what it printed, parsed as JSON.

    The program gets `arguments` as sys.argv and may use this module.
    """
    return start(source, *arguments)()


def start(source, *arguments):
    """Start a program as `run` does; return a callable that waits for its result."""
    child = subprocess.Popen(
        [sys.executable, "-c", _START % (_paths(),) + source] + [str(one) for one in arguments],
        stdout=subprocess.PIPE,
    )

    def finish():
        printed, _ = child.communicate()
        if child.returncode:
            raise RuntimeError("a measured application failed: see above")
        return json.loads(printed.decode("ascii"))

    return finish


def _paths():
    # `-c` adds no folder to the path, and a test may have changed ours.
    return [path for path in sys.path if path] + [os.getcwd()]


def other_threads():
    """Return (voluntary wakeups, CPU seconds) so far of all threads but the main one."""
    wakeups, nanoseconds = 0, 0
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            folder = "/proc/self/task/%s/" % task
            wakeups += _field(folder + "status", "voluntary_ctxt_switches:")
            with open(folder + "schedstat") as stream:
                nanoseconds += int(stream.read().split()[0])
    return wakeups, nanoseconds / 1e9


def resident_bytes():
    """Return the resident memory of this process, in bytes."""
    return _field("/proc/self/status", "VmRSS:") * 1024


def _field(path, name):
    with open(path) as stream:
        for line in stream:
            if line.startswith(name):
                return int(line.split()[1])
    raise KeyError(name)
