"""Running totals: what counters and histograms add up to, sample by sample.

Belongs here: their arithmetic, and what is recorded of them.  Does not: checking arguments (see
`metrics`), and when a total is written.
"""

from __future__ import absolute_import, division

import bisect
import collections
import sys

LARGEST = sys.float_info.max
# In seconds, from a millisecond to a minute.
DEFAULT_BOUNDS = (
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
    + (1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
    + (LARGEST,)
)
# Of a histogram's metadata.
KEYS = (u"buckets", u"count", u"sum")

_LARGEST_COUNT = 2**63 - 1

# What makes one total. tags: a sorted tuple; bounds: the upper bounds of a histogram's buckets,
# rising, the last one LARGEST; None for a counter.
Key = collections.namedtuple("Key", "name tags bounds")
# What a call adds to a total; unit and metadata may be None.
Sample = collections.namedtuple("Sample", "key amount unit metadata")


class Total(collections.namedtuple("Total", "sum count counts unit metadata last")):
    """A running total; replaced as a whole, never changed.

    sum, count: of the samples; counts: how many of them are in each bucket, a tuple; unit,
    metadata: the last ones that were given; last: the last Sample.
    """

    __slots__ = ()


def plus(total, sample):
    """Return a Total with one more sample.

    :param total: a Total, or None if the sample is the first.
    """
    bounds = sample.key.bounds
    if total is None:
        total = Total(0, 0, (0,) * len(bounds or ()), None, None, None)
    return Total(
        _bounded(total.sum + sample.amount),
        total.count + 1,
        _one_more(total.counts, bounds, sample.amount) if bounds else (),
        total.unit if sample.unit is None else sample.unit,
        total.metadata if sample.metadata is None else sample.metadata,
        sample,
    )


def _bounded(number):
    """Return a sum as a number that every server can read: beyond a float's range, its end."""
    if -_LARGEST_COUNT <= number <= _LARGEST_COUNT:
        return number
    return float(max(-LARGEST, min(LARGEST, number)))


def _one_more(counts, bounds, value):
    place = bisect.bisect_left(bounds, value)
    return counts[:place] + (counts[place] + 1,) + counts[place + 1 :]


def fields(key, total, process=None):
    """Return the fields of the metric that records a total.

    :param process: the id of the process whose total it is (int), None if that is the process in
        which the session was opened.
    """
    tags = list(key.tags)
    if process is not None:
        tags.append(u"process:%d" % process)
    found = {"name": key.name, "value": total.sum, "type": u"counter"}
    if tags:
        found["tags"] = tags
    if total.unit is not None:
        found["unit"] = total.unit
    if key.bounds is not None:
        found["type"] = u"histogram"
        found["value"] = total.sum / total.count
        found["metadata"] = dict(total.metadata or {}, **_distribution(key, total))
    return found


def _distribution(key, total):
    buckets = [{"le": bound, "count": count} for bound, count in zip(key.bounds, total.counts)]
    return {"buckets": buckets, "count": total.count, "sum": total.sum}


def longest(sample):
    """Return the fields of the longest record that a sample's total can become."""
    key = sample.key
    counts = (_LARGEST_COUNT,) * len(key.bounds or ())
    total = Total(-LARGEST, _LARGEST_COUNT, counts, sample.unit, sample.metadata, sample)
    return fields(key, total, process=_LARGEST_COUNT)
