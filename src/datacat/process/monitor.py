"""How much this process uses, as gauges: `monitor_process`.

Belongs here: when to measure, and what.  Does not: the thread (see `keeper`), keeping records.
"""

from __future__ import absolute_import, division

import os

from .. import _compat
from ..records import build, kinds
from .watchdog import positive

_MISSING = (
    "monitor_process needs psutil, which is not installed (%s): "
    "run pip install 'datacat-client[process]'"
)


def start(membership, interval):
    """Measure this process from now on; return the ProcessMonitor.

    :param membership: that of the session which gets the gauges.
    :param interval: seconds.
    :raises InvalidArgument: unless `interval` is a positive finite number.
    :raises ImportError: if psutil is missing.
    """
    interval = positive("interval", interval)
    try:
        import psutil
    except ImportError as error:
        raise ImportError(_MISSING % error)
    # Others write into the session, too.
    tags = ["process:%d" % os.getpid()] if membership.is_inherited else None
    monitor = ProcessMonitor(Usage(psutil), interval, _compat.monotonic(), tags)
    # One that is over is not opened again for this.
    if not membership.place.entry.goodbye:
        membership.monitor = monitor
        membership.attend()
    return monitor


class ProcessMonitor(object):
    """Measures this process every `interval` seconds, until `stop` or the end of a `with` block.

    :param usage: has `read()`, which returns {name: (value, unit)} without "process_cpu", and
        `cpu_seconds()`; None: never measures.
    :param interval: seconds.
    :param now: monotonic seconds.
    :param tags: of each gauge, a list of str or None.
    :ivar due: when to measure next, monotonic seconds.
    """

    def __init__(self, usage, interval, now, tags=None):
        self._usage = usage
        self._interval = interval
        self._tags = tags
        self._process = os.getpid()
        self._measured = now
        self._cpu = 0.0 if usage is None else usage.cpu_seconds()
        self.due = now + interval

    @property
    def is_running(self):
        """Whether it measures this process; not in a forked child."""
        return self._usage is not None and self._process == os.getpid()

    def stop(self):
        """Measure no more; harmless when repeated.  Thread-safe."""
        self._usage = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def measure(self, now, redact=None):
        """Return the bodies (bytes) of the gauges that are due, a list.

        :param redact: what they pass through, or None.
        """
        usage = self._usage
        if usage is None or now < self.due:
            return []
        # From the first time on, whenever the thread woke: no drift.
        self.due += self._interval * (1 + (now - self.due) // self._interval)
        read = dict(usage.read(), process_cpu=(self._cpu_percent(usage, now), u"percent"))
        gauges = [
            build.metric(name, read[name][0], self._tags, u"gauge", read[name][1])
            for name in sorted(read)
        ]
        if redact is None:
            return [build.encode(gauge) for gauge in gauges]
        bodies = [redact.body(kinds.METRIC, gauge) for gauge in gauges]
        return [body for body in bodies if body is not None]

    def _cpu_percent(self, usage, now):
        cpu = usage.cpu_seconds()
        percent = 100 * max(0.0, cpu - self._cpu) / (now - self._measured)
        self._cpu, self._measured = cpu, now
        return percent


class Usage(object):
    """What this process uses.

    :param psutil: the module.
    """

    cpu_seconds = staticmethod(_compat.process_cpu_seconds)

    def __init__(self, psutil):
        self._failures = (psutil.Error, EnvironmentError)
        process = psutil.Process()
        # There are handles on Windows, and descriptors elsewhere.
        descriptors = getattr(process, "num_fds", None) or process.num_handles
        self._readings = {
            "process_memory": (lambda: process.memory_info().rss, u"bytes"),
            "process_threads": (process.num_threads, None),
            "process_descriptors": (descriptors, None),
        }

    def read(self):
        """Return {name: (value, unit)} of what the system tells."""
        found = {}
        for name, (reading, unit) in self._readings.items():
            try:
                found[name] = (reading(), unit)
            except self._failures:
                pass  # such as: no descriptor is left to look with
        return found
