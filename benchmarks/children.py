"""Applications as processes of their own, and what the system tells of them (Linux).

What may live here: starting one, readings of /proc.  What may not: what is concluded.
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

    It finds `arguments` in sys.argv and may use `children.reading`.
    """
    return start(source, *arguments)()


def start(source, *arguments):
    """Start a program as `run` does; return a callable that waits for what it prints."""
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
    # `-c` has no folder of its own, and what a test set up for us counts for it too.
    return [path for path in sys.path if path] + [os.getcwd()]


def other_threads():
    """Return (voluntary wakeups, CPU seconds) of all threads but the main one, so far."""
    wakeups, nanoseconds = 0, 0
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            folder = "/proc/self/task/%s/" % task
            wakeups += _field(folder + "status", "voluntary_ctxt_switches:")
            with open(folder + "schedstat") as stream:
                nanoseconds += int(stream.read().split()[0])
    return wakeups, nanoseconds / 1e9


def resident_bytes():
    """Return how much memory this process has resident, in bytes."""
    return _field("/proc/self/status", "VmRSS:") * 1024


def _field(path, name):
    with open(path) as stream:
        for line in stream:
            if line.startswith(name):
                return int(line.split()[1])
    raise KeyError(name)
