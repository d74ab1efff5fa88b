"""What each type of metric is made of, from an application's arguments, which are checked.

Belongs here: gauges and timers, which are records at once, and the samples of counters and
histograms.  Does not: what samples add up to (see `totals`).
"""

from __future__ import absolute_import, division

import six

from . import build, jsonable, totals

_INFINITY = float("inf")


def gauge(name, value, tags=None, unit=None):
    """Return the fields of a gauge.

    :raises InvalidArgument: if an argument has another type than that of `build.metric`, or
        `value` is a bool.
    """
    return build.metric(name, _number("value", value), tags, u"gauge", unit)


def timer(name, duration, count=None, tags=None, unit=u"seconds"):
    """Return the fields of a timer.

    :raises InvalidArgument: if an argument has another type than that of `build.metric`, a number
        is a bool, or `count` is negative.
    """
    value = _number("duration", duration)
    return build.metric(name, value, tags, u"timer", unit, timer_count(count))


def timer_count(given):
    """Return how many observations a timer sums up, None if that is not told."""
    if given is None:
        return None
    if isinstance(given, bool):
        raise build.invalid("count", "an integer", given)
    count = build.whole("count", given)
    if count < 0:
        raise build.invalid("count", "0 or more", given)
    return count


def counted(name, delta=1, tags=None):
    """Return the Sample by which a counter grows.

    :raises InvalidArgument: if an argument has another type than that of `build.metric`, or
        `delta` is a bool or negative.
    """
    amount = _number("delta", delta)
    if amount < 0:
        raise build.invalid("delta", "0 or more, because a counter only grows", delta)
    return totals.Sample(_key(build.metric(name, 0, tags), None), amount, None, None)


def observed(name, value, unit=None, tags=None, buckets=None, metadata=None):
    """Return the Sample that a histogram counts.

    :raises InvalidArgument: if an argument has another type than that of `build.metric`, `value`
        is a bool, `buckets` are not upper bounds (see `_bounds`), or `metadata` has a key that the
        record has itself.
    """
    amount = float(_number("value", value))
    bounds = totals.DEFAULT_BOUNDS if buckets is None else _bounds(buckets)
    fields = build.metric(name, 0, tags, None, unit, None, metadata)
    if metadata is not None:
        # A copy, because the application may change it before the total is written.
        metadata = jsonable.plain(fields["metadata"])
        for key in totals.KEYS:
            if key in metadata:
                raise build.invalid("metadata", "without the key %s" % key, metadata)
    if unit is not None:
        unit = _text(fields["unit"])
    return totals.Sample(_key(fields, bounds), amount, unit, metadata)


def _number(argument, given):
    if given is True or given is False:
        raise build.invalid(argument, "a finite number", given)
    return build.finite(argument, given)


def _key(fields, bounds):
    tags = fields.get("tags")
    # Texts of Python's own, because they are compared in whatever thread adds up.
    tags = tuple(sorted([_text(tag) for tag in tags])) if tags else ()
    return totals.Key(_text(fields["name"]), tags, bounds)


def _text(given):
    return given if type(given) is six.text_type else jsonable.plain(given)


def _bounds(buckets):
    """Return the upper bounds of a histogram's buckets, with the last one, which takes the rest.

    :param buckets: a list or tuple of numbers, rising; the last one may be infinity.
    """
    if not build.is_a(buckets, (list, tuple)) or not buckets:
        raise build.invalid("buckets", "a list of upper bounds, one or more", buckets)
    bounds = list(buckets)
    if isinstance(bounds[-1], float) and bounds[-1] == _INFINITY:
        bounds[-1] = totals.LARGEST
    bounds = [float(_number("a bound in buckets", bound)) for bound in bounds]
    if any(low >= high for low, high in zip(bounds, bounds[1:])):
        raise build.invalid("buckets", "rising upper bounds", buckets)
    return tuple(bounds if bounds[-1] == totals.LARGEST else bounds + [totals.LARGEST])
