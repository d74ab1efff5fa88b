"""What an application measures through its session: gauges, counters, histograms and timers.

Belongs here: these calls and their promises.  Does not: what they add up to, and when that is
written (see `process.running_totals`).
"""

from __future__ import absolute_import, division

from ._compat import is_finalizing
from .process import recording, running_totals
from .records import kinds, metrics
from .timers import Timer


class Meters(object):
    """The metrics calls of a `Session`, which sets `_membership`.  Every method is thread-safe."""

    # A finalizer may log when the globals of this module are gone.
    _is_finalizing = staticmethod(is_finalizing)

    def log_gauge(self, name, value, tags=None, unit=None):
        """Log what something measures now, such as memory in use: a record of its own.

        :param name, tags, unit: as for `log_metric`.
        :param value: a finite number.
        :raises InvalidArgument: as `log_metric` does; also for a bool.
        """
        given = name, value, tags, unit
        try:
            recording.record(self._membership, kinds.METRIC, metrics.gauge, given)
        except Exception:
            if not self._is_finalizing():
                raise

    def log_counter(self, name, delta=1, tags=None):
        """Let a counter grow; what is recorded is its total in this session.

        Counters of the same name and tags, in any order, are one.  Totals are kept in memory, and
        written as `aggregate_seconds` says, and at `flush`, `end`, `close` and exit; a kill loses
        what was counted since.  A forked child counts from 0, under a tag "process:<its id>".

        :param name, tags: as for `log_metric`.
        :param delta: by how much it grows (finite number, 0 or more).
        :raises InvalidArgument: as `log_metric` does; also for a bool or a negative number.
        """
        given = name, delta, tags
        try:
            running_totals.count(self._membership, metrics.counted, given)
        except Exception:
            if not self._is_finalizing():
                raise

    def log_histogram(self, name, value, unit=None, tags=None, buckets=None, metadata=None):
        """Count a value in a histogram; what is recorded is the distribution in this session.

        Histograms of the same name, tags and buckets are one.  They are kept and written as
        counters are.  The record's value is the mean, its metadata has `count`, `sum`, and
        `buckets`: a list of {"le": upper bound, "count": of the values in this bucket alone}.

        :param name, tags, unit: as for `log_metric`; the last unit given is recorded.
        :param value: a finite number.
        :param buckets: the upper bounds of the buckets (list or tuple of numbers, rising), by
            default 15 from 0.001 to 60.  One more, 1.7976931348623157e308, takes what is larger.
        :param metadata: more metadata (dict), without the three keys above; the last given is
            recorded.
        :raises InvalidArgument: as `log_metric` does; also for a bool, and for other `buckets`.
        """
        given = name, value, unit, tags, buckets, metadata
        try:
            running_totals.count(self._membership, metrics.observed, given)
        except Exception:
            if not self._is_finalizing():
                raise

    def log_timer(self, name, duration, count=None, tags=None, unit="seconds"):
        """Log how long something took: a record of its own.

        :param name, tags: as for `log_metric`.
        :param duration: a finite number.
        :param count: how many things took as long together (int, 0 or more), or None.
        :param unit: the unit of `duration` (str).
        :raises InvalidArgument: as `log_metric` does; also for a bool or a negative count.
        """
        given = name, duration, count, tags, unit
        try:
            recording.record(self._membership, kinds.METRIC, metrics.timer, given)
        except Exception:
            if not self._is_finalizing():
                raise

    def timer(self, name, count=None, tags=None, unit="seconds"):
        """Return what times a `with` block, or as a decorator each call of a function.

        A block may set `.count`, or add to it.  An exception passes on, and is timed as well.  A
        timer times one block at a time; as a decorator, any number of calls: also of coroutines
        and generators, from their first step to their last one.

        :param name, count, tags: as for `log_timer`.
        :param unit: "seconds", "milliseconds", "microseconds" or "nanoseconds"; or s, ms, us, ns.
        :raises InvalidArgument: as `log_timer` does; also for another unit.
        """
        return Timer(self.log_timer, name, count, tags, unit)
