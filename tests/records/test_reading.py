"""What dicts, lists and texts of an application's own classes hold is recorded."""

from __future__ import absolute_import, division

import collections
import json

import pytest
import six

from datacat.records import before_record, build, exceptions, jsonable, reading


class AttrDict(dict):
    """Has its keys as attributes, also those that are names of methods."""

    def __init__(self, *arguments, **named):
        dict.__init__(self, *arguments, **named)
        self.__dict__ = self


class Order(dict):
    def items(self):
        return self["lines"]

    iteritems = items


class Closed(dict):
    """All of its methods raise."""

    def _raise(self, *_):
        raise RuntimeError("closed")

    items = iteritems = keys = values = get = __iter__ = __len__ = __getitem__ = _raise
    __contains__ = __bool__ = __nonzero__ = __eq__ = __repr__ = _raise
    __hash__ = None


class OrderedLines(collections.OrderedDict):
    def items(self):
        return [("other", 1)]

    iteritems = items


class Kept(dict):
    """Keeps its items elsewhere."""

    def items(self):
        return [("a", 1)]


class Numbers(list):
    def __iter__(self):
        return iter(["other"])

    def __len__(self):
        raise RuntimeError("no length")


class Pair(tuple):
    __iter__ = Numbers.__dict__["__iter__"]
    __len__ = Numbers.__dict__["__len__"]


class Ones(set):
    __iter__ = Numbers.__dict__["__iter__"]


class LazyList(list):
    """Keeps its elements elsewhere."""

    def __iter__(self):
        return iter([1, 2])


class Word(six.text_type):
    def _raise(self, *_):
        raise RuntimeError("no word")

    __str__ = __repr__ = __len__ = __iter__ = __eq__ = __ne__ = __hash__ = encode = _raise
    __bool__ = __nonzero__ = __getitem__ = _raise


class Seven(int):
    def _raise(self, *_):
        raise RuntimeError("no number")

    __str__ = __repr__ = __int__ = __index__ = __float__ = __abs__ = _raise
    __bool__ = __nonzero__ = _raise


ATTRIBUTES = {"order": 17, "items": ["apple", "pear"]}
ROWS = {"id": 1, "lines": [["apple", 2, 3.5]]}
PAIRS = {"id": 1, "lines": [["apple", 2]]}
OWN = [
    (AttrDict(ATTRIBUTES), ATTRIBUTES),
    (
        AttrDict(keys=1, values=2, get=3, iteritems=4),
        {"keys": 1, "values": 2, "get": 3, "iteritems": 4},
    ),
    (Order(ROWS), ROWS),
    (Order(PAIRS), PAIRS),
    (Order(id=1, lines=[[1, 2, 3]]), {"id": 1, "lines": [[1, 2, 3]]}),
    (Closed(a=1), {"a": 1}),
    (OrderedLines(a=1), {"a": 1}),
    (Kept(), {"a": 1}),
    (AttrDict(), {}),
    (Order(), {}),
    (collections.defaultdict(list, a=[1]), {"a": [1]}),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
]
OTHERS = [
    (Numbers([1, 2]), [1, 2]),
    (Numbers(), ["other"]),
    (Pair((1, 2)), [1, 2]),
    (Ones([1]), [1]),
    (LazyList(), [1, 2]),
    (Word(u"w"), u"w"),
    (Seven(7), 7),
    (collections.namedtuple("Point", "x items")(1, 2), [1, 2]),
]


def told(fields):
    return json.loads(jsonable.encode(fields).decode("ascii"))


@pytest.mark.parametrize("given, expected", OWN, ids=lambda value: type(value).__name__)
def test_a_dict_with_methods_of_its_own_is_recorded_as_it_is(given, expected):
    """As data, state, metadata or extra data, at the top and below."""
    assert told(build.event("e", given))["data"] == expected
    assert told(build.state(given)) == expected
    assert told(build.state({"cart": given, "list": [given]})) == {
        "cart": expected,
        "list": [expected],
    }
    assert told(build.metric("m", 1, metadata=given))["metadata"] == expected
    data = json.loads(
        exceptions.encode_cut(exceptions.exception(ValueError("bad"), given)).decode("ascii")
    )["data"]
    assert dict((key, data[key]) for key in expected) == expected


@pytest.mark.parametrize("given, expected", OWN + OTHERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("beside", [1, float("nan")], ids=["fast", "slow"])
def test_a_container_with_methods_of_its_own_is_recorded_as_it_is(given, expected, beside):
    assert told({"v": given, "list": [given], "beside": beside})["v"] == expected
    assert told({"v": given, "list": [given], "beside": beside})["list"] == [expected]


def test_a_key_with_methods_of_its_own_costs_nothing():
    hashed = type("Hashed", (Word,), {"__hash__": six.text_type.__hash__})
    given = {hashed(u"k"): 1, "other": 2}
    assert told({"v": given}) == {"v": {"k": 1, "other": 2}}
    assert told({"v": AttrDict(given)}) == {"v": {"k": 1, "other": 2}}
    data = exceptions.exception(ValueError("bad"), given)["data"]
    assert data["k"] == 1 and data["other"] == 2


def test_texts_and_lists_with_methods_of_their_own_are_arguments_like_others():
    fields = told(build.event(Word(u"name"), labels=Numbers([u"a"]), message=Word(u"m")))
    assert fields == {"name": "name", "labels": ["a"], "message": "m", "data": {}}
    fields = told(build.metric(Word(u"name"), 1, tags=Pair((u"a", u"b")), unit=Word(u"s")))
    assert fields == {"name": "name", "tags": ["a", "b"], "unit": "s", "value": 1}
    assert told(build.metric("m", 1, tags=AttrDict(items=1)))["tags"] == ["items:1"]


def test_an_ordered_dict_keeps_its_order():
    ordered = collections.OrderedDict([(u"b", 1), (u"a", 2), (u"c", 3)])
    ordered[u"b"] = ordered.pop(u"b")
    assert reading.snapshot(ordered) == [(u"a", 2), (u"c", 3), (u"b", 1)]


def test_a_dict_that_changes_while_it_is_read_is_read_again():
    class Restless(object):
        """Asked for its hash, as by another thread, the dict has grown."""

        is_calm = True

        def __hash__(self):
            if not self.is_calm:
                self.is_calm = True
                ordered["new"] = 2
            return 1

    key, ordered = Restless(), collections.OrderedDict()
    ordered["first"], ordered[key], ordered["last"] = 0, 1, 3
    key.is_calm = False
    found = reading.snapshot(ordered)
    assert [pair[1] for pair in found] in ([0, 1, 3], [0, 1, 3, 2])


def test_what_only_claims_to_be_a_dict_is_read_by_its_own_methods():
    class Mapping(object):
        def __init__(self, rows):
            self.rows = rows

        __class__ = dict

        def items(self):
            return self.rows

    assert reading.snapshot(Mapping([("a", 1)])) == [("a", 1)]
    assert reading.snapshot(Mapping([("a", 1, 2)])) == [(reading.UNREADABLE, None)]
    assert reading.snapshot(Mapping(5)) == [(reading.UNREADABLE, None)]


@pytest.mark.parametrize("given, expected", OWN, ids=lambda value: type(value).__name__)
def test_before_record_may_get_and_return_a_dict_with_methods_of_its_own(given, expected):
    seen = []

    def function(kind, fields):
        seen.append(fields)
        return AttrDict(fields, data=given)

    shown = before_record.BeforeRecord(function, lambda *_: pytest.fail("dropped"))
    changed = shown("event", build.event("e", given))
    assert seen[0]["data"] == expected and type(seen[0]["data"]) is dict
    assert told(changed)["data"] == expected


def test_a_record_that_is_too_large_is_refused_by_name_whatever_its_class():
    for large in (AttrDict(get=1, name=u"n", much=u"x" * (2 << 20)), Closed(a=u"x" * (2 << 20))):
        with pytest.raises(build.InvalidArgument):
            build.encode(build.state(large))
