"""Timers: how long a `with` block, or each call of a function, takes.

Belongs here: `Timer`.  Does not: how a duration is recorded, and what is done to a function.
"""

from __future__ import absolute_import, division

import copy
import functools

from ._compat import stopwatch
from .records import build, metrics

# How many of a unit make a second.
UNITS = {
    u"seconds": 1,
    u"s": 1,
    u"milliseconds": 10**3,
    u"ms": 10**3,
    u"microseconds": 10**6,
    u"us": 10**6,
    u"nanoseconds": 10**9,
    u"ns": 10**9,
}


class Timer(object):
    """Measures a `with` block, or each call of the function that it decorates.

    :param log: a callable (name, duration, count, tags, unit), such as `Session.log_timer`.
    :param name, count, tags, unit: as for `Session.timer`.
    :raises InvalidArgument: if one is not as it must be.
    """

    def __init__(self, log, name, count=None, tags=None, unit="seconds"):
        fields = metrics.timer(name, 0, count, tags, unit)
        if unit not in UNITS:
            raise build.invalid("unit", "one of " + ", ".join(sorted(UNITS)), unit)
        build.encode(fields)
        self._log = log
        self._name = fields["name"]
        self._tags = fields.get("tags")
        self._unit = unit
        self._count = fields.get("count")
        self._began = None

    @property
    def count(self):
        """How many observations it sums up (int); 0 if it was not told, and then not recorded."""
        return self._count or 0

    @count.setter
    def count(self, value):
        self._count = metrics.timer_count(value)

    def __enter__(self):
        self._began = stopwatch()
        return self

    def __exit__(self, *_):
        duration = (stopwatch() - self._began) * UNITS[self._unit]
        self._log(self._name, duration, self._count, self._tags, self._unit)

    def __call__(self, function):
        """Return a function that is timed at each call, of the same kind as the one given.

        Of a coroutine or generator, that is from its first step to its last one.
        """
        # Imported late, to keep `import datacat` fast.
        from .wrapping import running_inside

        return running_inside(functools.partial(copy.copy, self), function)


class NoTimer(object):
    """Takes the place of a Timer where nothing is recorded."""

    count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __call__(self, function):
        """Return the function."""
        return function
