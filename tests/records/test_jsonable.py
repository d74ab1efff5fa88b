# -*- coding: utf-8 -*-
"""The JSON of each value, the same on every Python."""

from __future__ import absolute_import, division

import datetime
import decimal
import fractions
import gc
import json
import math
import re
import sys
import threading
import time
import uuid
import weakref

import hypothesis
import pytest
import six
from hypothesis import strategies
from tools.odd_values import (
    METACLASSES_WITHOUT_A_NAME,
    FixedZone,
    Flaky,
    Longdouble,
    NumpyScalar,
    OddFloat,
    OddInteger,
    Path,
    Shown,
    Silent,
    nested,
)

from datacat import _compat
from datacat.errors import InvalidArgument
from datacat.records import build, jsonable


def itself(container):
    container.append(container)
    return container


CONVERSIONS = [
    (None, "null"),
    (True, "true"),
    (1, "1"),
    (-0.5, "-0.5"),
    (1e100, "1e+100"),
    (10**20, "100000000000000000000"),
    (10**400, '"1' + "0" * 400 + '"'),
    (-(10**308), "-1" + "0" * 308),
    (-(2**1024), '"-' + str(2**1024) + '"'),
    (10**4299, '"1' + "0" * 4299 + '"'),
    (10**4300, '"<integer of over 4300 digits>"'),
    (float("nan"), '"NaN"'),
    (float("inf"), '"Infinity"'),
    (float("-inf"), '"-Infinity"'),
    (OddInteger(7), "7"),
    (OddFloat(1.5), "1.5"),
    (OddFloat("nan"), '"NaN"'),
    (u"caf\xe9 \U0001f600", '"caf\\u00e9 \\ud83d\\ude00"'),
    (u"a\ud800b", '"a\\ufffdb"'),
    (u"\udc00\ud800", '"\\ufffd\\ufffd"'),
    (u"\\ud800", '"\\\\ud800"'),
    (u"\\\ud800", '"\\\\\\ufffd"'),
    (b"caf\xc3\xa9", '"caf\\u00e9"'),
    (b"\xff\xc3", '"\\ufffd\\ufffd"'),
    (b"\xed\xa0\xbd\xed\xb8\x80", '"' + "\\ufffd" * 6 + '"'),
    (b"\xe2\x82A\xf0\x90\x80", '"\\ufffdA\\ufffd"'),
    (bytearray(b"ab"), '"ab"'),
    (memoryview(b"ab"), '"ab"'),
    ((1, (2,)), "[1,[2]]"),
    (set([3, 1, 2]), "[1,2,3]"),
    (frozenset([u"b", 1, None, u"a"]), '["a","b",1,null]'),
    (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), '"2026-01-02T03:04:05.000006"'),
    (datetime.datetime(2026, 1, 2, tzinfo=FixedZone()), '"2026-01-02T00:00:00+05:30"'),
    (datetime.date(2026, 1, 2), '"2026-01-02"'),
    (datetime.time(3, 4), '"03:04:00"'),
    (datetime.timedelta(days=1, microseconds=500000), "86400.5"),
    (decimal.Decimal("1.50"), '"1.50"'),
    (decimal.Decimal("NaN"), '"NaN"'),
    (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (fractions.Fraction(1, 3), '"Fraction(1, 3)"'),
    (ValueError("bad"), '"ValueError: bad"'),
    (KeyboardInterrupt(), '"KeyboardInterrupt"'),
    (Path("/tmp/x"), '"/tmp/x"'),
    (Path(b"/tmp/\xff"), '"/tmp/\\ufffd"'),
    (NumpyScalar(5), "5"),
    (NumpyScalar([1.5, float("nan")]), '[1.5,"NaN"]'),
    (Longdouble(), '"longdouble(1.5)"'),
    (Shown(), '"<shown>"'),
    (Silent(), '"<unprintable Silent>"'),
    (itself([1]), '[1,"<cycle>"]'),
    (nested(64, 1), "[" * 64 + "1" + "]" * 64),
    (nested(65, 1), "[" * 64 + '"<deeper than 64 levels>"' + "]" * 64),
    (nested(100000, 1), "[" * 64 + '"<deeper than 64 levels>"' + "]" * 64),
    ([nested(1, u"{[\"{[\\")] * 200, "[" + ",".join(['["{[\\"{[\\\\"]'] * 200) + "]"),
    ({u"k": Flaky(5, {u"a": 1})}, '{"k":{"a":1}}'),
    (Flaky(10**6, {u"a": 1}), '{"a":1}'),
]

KEYS = [
    (u"caf\xe9", '"caf\\u00e9"'),
    (b"caf\xc3\xa9", '"caf\\u00e9"'),
    (b"\xff", '"\\ufffd"'),
    (u"\ud800", '"\\ufffd"'),
    (None, '"null"'),
    (True, '"true"'),
    (1, '"1"'),
    (OddInteger(7), '"7"'),
    (1.5, '"1.5"'),
    (float("inf"), '"Infinity"'),
    (10**400, '"1' + "0" * 400 + '"'),
    ((1, u"a"), '"[1,\\"a\\"]"'),
    (datetime.date(2026, 1, 2), '"2026-01-02"'),
    (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (frozenset([2, 1]), '"[1,2]"'),
    (Silent(), '"<unprintable Silent>"'),
]


# Values that change when they are read again, or lie one level deeper.
BESIDE = [
    (value, expected)
    for value, expected in CONVERSIONS
    if not isinstance(value, Flaky) and "[" * 64 not in expected
]


def numbered(table):
    """Return ids for a table's tests, because pytest cannot print each of these values."""
    return [str(number) for number in range(len(table))]


def encoded(value):
    return build.encode({"v": value}).decode("ascii")


@pytest.mark.parametrize("value, expected", CONVERSIONS, ids=numbered(CONVERSIONS))
def test_each_value_becomes_the_same_json_on_every_python(value, expected):
    assert encoded(value) == '{"v":%s}' % expected


@pytest.mark.parametrize("key, expected", KEYS, ids=numbered(KEYS))
def test_each_key_becomes_the_same_text_on_every_python(key, expected):
    assert encoded({key: 1}) == '{"v":{%s:1}}' % expected


@pytest.mark.parametrize("value, expected", BESIDE, ids=numbered(BESIDE))
def test_a_value_becomes_the_same_beside_one_that_is_converted_slowly(value, expected):
    assert encoded([value, float("nan")]) == '{"v":[%s,"NaN"]}' % expected


def test_an_enum_becomes_its_value():
    enum = pytest.importorskip("enum")

    class Colour(enum.Enum):
        RED = datetime.date(2026, 1, 2)

    class Number(enum.IntEnum):
        ONE = 1

    class Word(str, enum.Enum):
        YES = "yes"

    assert encoded([Colour.RED, Number.ONE, Word.YES]) == '{"v":["2026-01-02",1,"yes"]}'
    assert encoded([Colour.RED, Number.ONE, Word.YES, float("nan")]) == (
        '{"v":["2026-01-02",1,"yes","NaN"]}'
    )
    assert encoded({Number.ONE: 1}) == '{"v":{"1":1}}'
    assert encoded({Colour.RED: 1}) == '{"v":{"2026-01-02":1}}'
    assert issubclass(Colour, _compat.Enum)


def test_a_dict_that_contains_itself_is_cut_where_it_recurs():
    whole = {}
    whole["again"] = [whole]
    assert json.loads(encoded(whole)) == {"v": {"again": ["<cycle>"]}}


def test_the_same_list_twice_is_no_cycle():
    shared = [1]
    assert encoded([shared, shared, float("nan")]) == '{"v":[[1],[1],"NaN"]}'


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="Python 3.11 and newer")
def test_an_integer_with_more_digits_than_the_program_allows_becomes_a_marker():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert encoded(10**700) == '{"v":"<integer of over 4300 digits>"}'
    finally:
        sys.set_int_max_str_digits(before)


def test_encoding_does_not_change_the_value():
    given = {"k": [float("nan"), {1: set([2])}]}
    build.encode(given)
    assert list(given) == ["k"] and math.isnan(given["k"][0]) and given["k"][1] == {1: set([2])}


@pytest.mark.parametrize("value", [1, float("nan")], ids=["fast encoder", "slow encoder"])
def test_a_dict_that_changes_while_it_is_encoded_is_encoded(value):
    """Converting a value lets other threads run, which may add keys."""

    class Changing(object):
        def __repr__(self):
            shared["key %d" % len(shared)] = 1
            return "changing"

    shared = {"value": value, "changing": Changing(), "stay": 1}
    there = json.loads(encoded(shared))["v"]
    assert there["stay"] == 1 and there["changing"] == "changing"


def test_a_dict_that_another_thread_changes_is_always_encoded():
    """Encoding never raises while another thread adds and removes keys."""
    shared = {"stay": 1}
    over, changes = threading.Event(), []

    def change():
        while not over.is_set():
            number = len(changes)
            shared["k%d" % (number % 50)] = Shown()
            shared.pop("k%d" % ((number + 25) % 50), None)
            changes.append(number)

    thread = threading.Thread(target=change)
    thread.start()
    rounds = 0
    try:
        while rounds < 200 or len(changes) < 200:
            assert json.loads(encoded(shared))["v"]["stay"] == 1
            rounds += 1
    finally:
        over.set()
        thread.join()


surrogates_too = strategies.text(strategies.characters(), max_size=6)
keys = strategies.one_of(
    surrogates_too,
    strategies.integers(),
    strategies.booleans(),
    strategies.none(),
    strategies.floats(),
    strategies.binary(max_size=4),
)
leaves = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(),
    strategies.floats(),
    surrogates_too,
    strategies.binary(max_size=6),
    strategies.decimals(),
    strategies.datetimes(),
    strategies.timedeltas(),
    strategies.uuids(),
    strategies.fractions(),
    strategies.integers(min_value=2**1020, max_value=2**1030),
    strategies.frozensets(strategies.integers(), max_size=3),
)
values = strategies.recursive(
    leaves,
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=4),
        strategies.tuples(inner, inner),
        strategies.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)


def refuse_constant(constant):
    raise AssertionError("%s is not JSON" % constant)


def has_lone_surrogate(text):
    return (
        re.search(u"[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]", text)
        is not None
    )


def texts_in(value):
    if isinstance(value, six.text_type):
        yield value
    elif isinstance(value, dict):
        for key in value:
            yield key
            for text in texts_in(value[key]):
                yield text
    elif isinstance(value, list):
        for element in value:
            for text in texts_in(element):
                yield text


@hypothesis.given(values)
@hypothesis.settings(deadline=None)
def test_any_value_becomes_strict_json_without_lone_surrogates(value):
    text = encoded(value)
    parsed = json.loads(text, parse_constant=refuse_constant)
    if sys.maxunicode > 0xFFFF:
        assert not any(has_lone_surrogate(found) for found in texts_in(parsed))


@hypothesis.given(values)
@hypothesis.settings(deadline=None)
def test_fast_and_slow_encoding_agree(value):
    quick = json.loads(jsonable.encode({"v": value}).decode("ascii"))
    slow = json.loads(jsonable.encode(jsonable.plain({"v": value})).decode("ascii"))
    assert quick == slow


@hypothesis.given(strategies.binary(max_size=40))
def test_invalid_bytes_are_replaced_as_on_python_3(data):
    decoded = jsonable.decode(data)
    if six.PY3:
        assert decoded == data.decode("utf-8", "replace")
    assert decoded.count(u"\ufffd") <= len(data)


@hypothesis.given(strategies.text(max_size=20))
def test_utf8_is_decoded_as_it_was_encoded(text):
    assert jsonable.decode(text.encode("utf-8")) == text


class _Weighed(dict):
    """A dict that a weak reference can refer to."""


def test_a_value_that_the_fast_encoder_refuses_is_not_referenced_afterwards():
    """The fast encoder remembers the containers it is in; a leftover would never be freed."""
    for odd in (float("nan"), set([1]), {(1, 2): 3}):
        value = _Weighed(odd=odd)
        freed = weakref.ref(value)
        assert json.loads(jsonable.encode(value).decode("ascii"))["odd"]
        del value
        gc.collect()
        assert freed() is None


def test_one_value_logged_by_many_threads_at_once_is_no_cycle():
    """Converting a value lets other threads run, which may be encoding the same value."""

    class Slow(object):
        def __repr__(self):
            time.sleep(0.001)
            return "slow"

    value = {"inner": {"slow": [Slow() for _ in range(5)]}}
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(jsonable.encode(value))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [b'{"inner":{"slow":["slow","slow","slow","slow","slow"]}}'] * 8


class Lazy(object):
    """A proxy that claims to be what it stands for, as Django's lazy objects and wrapt's do."""

    def __init__(self, target):
        self.__dict__["target"] = target

    __class__ = property(lambda self: type(self.__dict__["target"]))

    def __getattr__(self, name):
        return getattr(self.__dict__["target"], name)

    def __iter__(self):
        return iter(self.__dict__["target"])

    def __len__(self):
        return len(self.__dict__["target"])

    def __int__(self):
        return int(self.__dict__["target"])

    def __float__(self):
        return float(self.__dict__["target"])

    def __str__(self):
        return str(self.__dict__["target"])

    __unicode__ = lambda self: six.text_type(self.__dict__["target"])  # noqa: E731
    __bool__ = __nonzero__ = lambda self: bool(self.__dict__["target"])
    __repr__ = lambda self: "<lazy>"  # noqa: E731
    __hash__ = object.__hash__


class Mock(object):
    """Claims to be of a class, and has none of its methods, as a mock with a spec."""

    def __init__(self, kind):
        self.__dict__["kind"] = kind

    __class__ = property(lambda self: self.__dict__["kind"])
    __repr__ = lambda self: "<mock>"  # noqa: E731


def dead_proxy():
    return weakref.proxy(Shown())


LIARS = [
    (Lazy({"a": 1}), {"a": 1}),
    (Lazy([1, 2]), [1, 2]),
    (Lazy((1, 2)), [1, 2]),
    (Lazy(u"text"), "text"),
    (Lazy(7), 7),
    (Lazy(0.5), 0.5),
    (Lazy(True), True),
    (Lazy(set([1])), [1]),
] + [(Mock(kind), "<mock>") for kind in (dict, list, tuple, six.text_type, int, float, set)]


@pytest.mark.parametrize("liar, expected", LIARS, ids=lambda value: type(value).__name__)
def test_a_value_that_lies_about_its_class_is_converted_and_nothing_else(liar, expected):
    """Whatever fails is only that value, not all that is logged with it."""
    data = {"liar": liar, "list": [liar], "other": {"deep": (1, u"\xe4")}}
    told = json.loads(build.encode(build.event("e", data)).decode("ascii"))["data"]
    assert told == {"liar": expected, "list": [expected], "other": {"deep": [1, u"\xe4"]}}


@pytest.mark.parametrize("liar, expected", LIARS, ids=lambda value: type(value).__name__)
def test_a_key_that_lies_about_its_class_is_converted(liar, expected):
    told = json.loads(build.encode({"data": {liar: 1, "other": 2}}).decode("ascii"))["data"]
    assert sorted(told.values()) == [1, 2] and told["other"] == 2 and len(told) == 2


def test_a_dead_weak_reference_is_unprintable_and_nothing_else():
    told = json.loads(build.encode({"dead": dead_proxy(), "other": 1}).decode("ascii"))
    assert told["other"] == 1 and isinstance(told["dead"], six.text_type)


@pytest.mark.parametrize("make", [build.state, lambda given: build.event("e", given)["data"]])
def test_a_lazy_dict_is_taken_as_a_dict(make):
    assert make(Lazy({"a": 1})) == {"a": 1}


@pytest.mark.parametrize("wrong", [lambda: Mock(dict), dead_proxy, lambda: Lazy([1])])
def test_what_only_claims_to_be_a_dict_is_refused_at_the_call(wrong):
    for call in (build.state, lambda given: build.event("e", given)):
        with pytest.raises(InvalidArgument):
            call(wrong())


@pytest.mark.parametrize(
    "given", [{"tags": Mock(list)}, {"count": Mock(int)}, {"unit": Mock(int)}]
)
def test_other_arguments_that_lie_are_refused_at_the_call(given):
    with pytest.raises(InvalidArgument):
        build.metric("m", 1, **given)
    with pytest.raises(InvalidArgument):
        build.metric("m", Mock(float))


@pytest.mark.parametrize("meta", METACLASSES_WITHOUT_A_NAME)
def test_a_value_whose_class_has_no_name_leaves_the_others_alone(meta):
    silent = meta("Odd", (Silent,), {})()
    told = json.loads(jsonable.encode({"a": 1, "b": [silent]}).decode("ascii"))
    assert told == {"a": 1, "b": ["<unprintable object>"]}
