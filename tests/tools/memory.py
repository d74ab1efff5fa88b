"""The resident memory of a process (Linux)."""

from __future__ import absolute_import, division

import io
import re


def peak_memory(pid):
    """Return the peak of a process's resident memory since `forget_peak`, in bytes."""
    with io.open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as stream:
        return int(re.search(r"VmHWM:\s+(\d+) kB", stream.read()).group(1)) * 1024


def forget_peak(pid):
    """Reset the peak to what a process has now; return that, in bytes."""
    with io.open("/proc/%d/clear_refs" % pid, "w") as stream:
        stream.write(u"5")
    return peak_memory(pid)
