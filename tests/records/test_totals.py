"""What counters and histograms add up to, and what of their arguments is refused."""

from __future__ import absolute_import, division

import decimal
import json
import sys

import pytest
import six

from datacat.errors import InvalidArgument
from datacat.records import build, metrics, totals

LARGEST = sys.float_info.max
NAN, INFINITY = float("nan"), float("inf")


def added_up(samples):
    """Return the fields of what some samples of one key add up to, as a server gets them."""
    total = None
    for sample in samples:
        total = totals.plus(total, sample)
    fields = totals.fields(samples[0].key, total)
    return json.loads(build.encode(fields).decode("ascii"))


def observe(*values, **options):
    return added_up([metrics.observed("h", value, **options) for value in values])


def in_buckets(fields):
    """Return {upper bound: how many are in the bucket} of a histogram, without empty buckets."""
    buckets = fields["metadata"]["buckets"]
    return dict((bucket["le"], bucket["count"]) for bucket in buckets if bucket["count"])


def test_a_counter_is_recorded_as_its_sum():
    samples = [metrics.counted("c", delta, ["b", "a"]) for delta in (1, 2.5, 0, 4)]
    assert added_up(samples) == {"name": "c", "type": "counter", "value": 7.5, "tags": ["a", "b"]}


def test_a_counter_of_whole_numbers_stays_exact():
    large = 2**53 + 1
    assert added_up([metrics.counted("c", large), metrics.counted("c")])["value"] == large + 1


def test_a_histogram_is_recorded_as_its_mean_its_sum_and_each_buckets_own_count():
    fields = observe(0.5, 1.5, 1.75, 9, unit="s", tags=["t"], buckets=[1, 2, 5])
    assert fields == {
        "name": "h",
        "type": "histogram",
        "value": 3.1875,
        "unit": "s",
        "tags": ["t"],
        "metadata": {
            "buckets": [
                {"le": 1.0, "count": 1},
                {"le": 2.0, "count": 2},
                {"le": 5.0, "count": 0},
                {"le": 1.7976931348623157e308, "count": 1},
            ],
            "count": 4,
            "sum": 12.75,
        },
    }


def test_a_value_at_a_bound_is_in_the_bucket_below_it():
    assert in_buckets(observe(1, 2, -3, buckets=[1, 2])) == {1: 2, 2: 1}


def test_there_are_15_buckets_by_default_and_one_for_what_is_larger():
    bounds = [bucket["le"] for bucket in observe(1)["metadata"]["buckets"]]
    assert (len(bounds), bounds[0], bounds[-2], bounds[-1]) == (16, 0.001, 60, LARGEST)
    assert in_buckets(observe(60.1, LARGEST)) == {LARGEST: 2}


@pytest.mark.parametrize("last", [INFINITY, LARGEST])
def test_buckets_may_end_with_the_one_that_takes_the_rest(last):
    assert observe(7, buckets=(1, last)) == observe(7, buckets=[1])


def test_what_was_given_last_is_recorded_with_a_histogram():
    samples = [
        metrics.observed("h", 1, "s", metadata={"a": 1}),
        metrics.observed("h", 1, "ms", metadata={"b": set([2])}),
        metrics.observed("h", 1),
    ]
    fields = added_up(samples)
    assert fields["unit"] == "ms" and fields["metadata"]["b"] == [2]
    assert "a" not in fields["metadata"]


def test_metadata_is_recorded_as_it_was_at_the_call():
    metadata = {"list": [1]}
    sample = metrics.observed("h", 1, metadata=metadata)
    metadata["list"].append(2)
    assert added_up([sample])["metadata"]["list"] == [1]


@pytest.mark.parametrize("delta", [LARGEST, 10**308])
def test_a_sum_beyond_the_largest_number_stays_there(delta):
    fields = added_up([metrics.counted("c", delta) for _ in range(30)])
    assert fields["value"] == LARGEST
    assert observe(delta, delta, delta)["metadata"]["sum"] == LARGEST


@pytest.mark.parametrize(
    "one, other",
    [
        (metrics.counted("c", tags=["a", "b"]), metrics.counted("c", 7, ("b", "a"))),
        (metrics.counted("c", tags={"k": "v"}), metrics.counted("c", tags=set(["k:v"]))),
        (metrics.counted("c", tags=[]), metrics.counted("c")),
        (metrics.observed("c", 1, buckets=[1, 2]), metrics.observed("c", 1, buckets=(1.0, 2.0))),
        (metrics.observed("c", 1, "s"), metrics.observed("c", 1, "ms")),
    ],
)
def test_what_makes_one_total(one, other):
    assert one.key == other.key and hash(one.key) == hash(other.key)


def test_what_makes_different_totals():
    samples = [
        metrics.counted("c"),
        metrics.counted("d"),
        metrics.counted("c", tags=["a"]),
        metrics.observed("c", 1),
        metrics.observed("c", 1, buckets=[1]),
    ]
    assert len(set(sample.key for sample in samples)) == len(samples)


@pytest.mark.skipif(six.PY3, reason="a text and bytes are different things there")
def test_bytes_name_the_same_counter_as_the_text_that_they_are():
    one, other = metrics.counted(b"\xc3\xa4", 1, [b"\xc3\xb6", u"a"]), u"\xe4"
    assert one.key == metrics.counted(other, 1, [u"\xf6", "a"]).key


class Word(six.text_type):
    """A text with odd methods, which nobody asks."""

    def __eq__(self, other):
        raise ValueError("equal?")

    def __lt__(self, other):
        raise ValueError("less?")

    __hash__ = None


def test_texts_with_odd_methods_are_keys_like_any_text():
    assert metrics.counted(Word(u"c"), 1, [Word(u"b"), Word(u"a")]).key == (
        u"c",
        (u"a", u"b"),
        None,
    )


MISTAKES = {
    "no name": lambda: metrics.counted(""),
    "a negative delta": lambda: metrics.counted("c", -1),
    "a delta that is no number": lambda: metrics.counted("c", "1"),
    "an infinite delta": lambda: metrics.counted("c", INFINITY),
    "a bool as delta": lambda: metrics.counted("c", True),
    "one text as tags": lambda: metrics.counted("c", 1, "a:b"),
    "nan": lambda: metrics.observed("h", NAN),
    "a bool as value": lambda: metrics.observed("h", False),
    "no buckets": lambda: metrics.observed("h", 1, buckets=[]),
    "one number as buckets": lambda: metrics.observed("h", 1, buckets=3),
    "buckets that fall": lambda: metrics.observed("h", 1, buckets=[2, 1]),
    "equal buckets": lambda: metrics.observed("h", 1, buckets=[1, 1.0]),
    "nan in buckets": lambda: metrics.observed("h", 1, buckets=[1, NAN]),
    "a bool in buckets": lambda: metrics.observed("h", 1, buckets=[0, True]),
    "infinity before the end": lambda: metrics.observed("h", 1, buckets=[INFINITY, INFINITY]),
    "a unit": lambda: metrics.observed("h", 1, unit=3),
    "metadata": lambda: metrics.observed("h", 1, metadata=[1]),
    "its own metadata": lambda: metrics.observed("h", 1, metadata={"sum": 1}),
    "a bool as gauge": lambda: metrics.gauge("g", True),
    "a bool as duration": lambda: metrics.timer("t", True),
    "a bool as count": lambda: metrics.timer("t", 1, True),
    "a negative count": lambda: metrics.timer("t", 1, -1),
    "half a count": lambda: metrics.timer("t", 1, 1.5),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_mistakes_are_refused(mistake):
    with pytest.raises(InvalidArgument):
        MISTAKES[mistake]()


def test_a_refusal_names_the_argument():
    with pytest.raises(InvalidArgument, match="delta must be 0 or more, .* not -2"):
        metrics.counted("c", -2)
    with pytest.raises(InvalidArgument, match="duration must be a finite number"):
        metrics.timer("t", "1")
    with pytest.raises(InvalidArgument, match="a bound in buckets must be a finite number"):
        metrics.observed("h", 1, buckets=["1"])


def test_gauges_and_timers_are_metrics_of_their_type():
    assert metrics.gauge("g", decimal.Decimal("0.5"), {"a": 1}, "MB") == {
        "name": "g",
        "value": 0.5,
        "tags": ["a:1"],
        "type": "gauge",
        "unit": "MB",
    }
    assert metrics.timer("t", 2, 0, ["a"]) == {
        "name": "t",
        "value": 2,
        "tags": ["a"],
        "type": "timer",
        "unit": "seconds",
        "count": 0,
    }


def test_no_record_of_a_total_is_longer_than_its_longest():
    sample = metrics.observed("h", -1.2345678901234567e-300, "s", ["t"], [1, 2], {"m": "x" * 50})
    total = totals.plus(None, sample)._replace(count=10**15, counts=(10**18,) * 3)
    written = build.encode(totals.fields(sample.key, total, process=4194304))
    assert len(written) <= len(build.encode(totals.longest(sample)))
