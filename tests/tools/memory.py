"""The resident memory of a process, as Linux tells it."""

from __future__ import absolute_import, division

import io
import re


def peak_memory(pid):
    """Return the most that a process had resident since it was last forgotten, in bytes."""
    with io.open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as stream:
        return int(re.search(r"VmHWM:\s+(\d+) kB", stream.read()).group(1)) * 1024


def forget_peak(pid):
    """Let the peak begin at what a process has now; return that."""
    with io.open("/proc/%d/clear_refs" % pid, "w") as stream:
        stream.write(u"5")
    return peak_memory(pid)
