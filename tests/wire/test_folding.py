# -*- coding: utf-8 -*-
"""What a classic server has no field for arrives all the same, and nothing else changes."""

from __future__ import absolute_import, division

import json
import sys

import pytest

from datacat.records import build, exceptions, kinds
from datacat.wire.dialects import CLASSIC, V1
from datacat.wire.folding import folded


def record(kind, fields):
    return kinds.Record(1, 1, kind, build.encode(fields), 1767323045123456)


def sent(kind, fields, **how):
    return json.loads(CLASSIC.send(record(kind, fields), "id", fold=True, **how).body.decode())


def test_an_events_fields_go_into_its_data():
    fields = build.event(
        "e", {"k": 1}, category="warning", group="g", labels=["a", "b"], message=u"gr\xfcn"
    )
    assert sent(kinds.EVENT, fields) == {
        "name": "e",
        "data": {
            "k": 1,
            "_category": "warning",
            "_group": "g",
            "_labels": ["a", "b"],
            "_message": u"gr\xfcn",
        },
    }


def test_a_report_of_losses_is_folded_like_an_event():
    assert sent(kinds.REPORT, build.dropped(3))["data"] == {"count": 3, "_category": "warning"}


def test_the_applications_own_key_wins():
    fields = build.event("e", {"_message": "mine", "message": "too"}, message="m", group="g")
    assert sent(kinds.EVENT, fields)["data"] == {
        "_message": "mine",
        "message": "too",
        "_group": "g",
    }


def test_a_metrics_fields_become_tags():
    fields = build.metric(
        "m", 1, ["a:b"], type="timer", unit="s", count=3, metadata={"z": [1, None], "a": u"\xfc"}
    )
    assert sent(kinds.METRIC, fields) == {
        "name": "m",
        "value": 1,
        "tags": [
            "a:b",
            "type:timer",
            "unit:s",
            "count:3",
            u'metadata:{"a":"\xfc","z":[1,null]}',
        ],
    }


def test_the_applications_own_tag_wins():
    fields = build.metric("m", 1, ["unit:mine"], unit="s", count=0)
    assert sent(kinds.METRIC, fields)["tags"] == ["unit:mine", "count:0"]


def test_a_late_record_carries_its_time_besides():
    data = sent(kinds.EVENT, build.event("e", message="m"), late=True)["data"]
    assert data == {"_message": "m", "_captured_at": "2026-01-02T03:04:05.123456Z"}


def an_exception():
    try:
        raise ValueError("x")
    except ValueError:
        return exceptions.exception(sys.exc_info(), {"context": "user"})


@pytest.mark.parametrize(
    "kind, fields",
    [
        (kinds.EVENT, build.event("user_action", {"action": "click"})),
        (kinds.METRIC, build.metric("memory_usage", 1024.5, tags=["app:myapp"])),
        (kinds.EXCEPTION, an_exception()),
        (kinds.STATE, {"category": "c", "message": "m", "type": "t"}),
        (kinds.END, {}),
    ],
)
def test_calls_in_the_seeds_form_change_nothing_on_the_wire(kind, fields):
    one = record(kind, fields)
    assert CLASSIC.send(one, "id", fold=True).body == one.body


@pytest.mark.parametrize("kind", [kinds.EVENT, kinds.METRIC])
def test_v1_has_the_fields_itself(kind):
    one = record(kind, {"name": "n", "value": 1, "unit": "s", "message": "m"})
    assert V1.send(one, "id", fold=True) == V1.send(one, "id", fold=False)


def test_what_an_exception_does_not_say_itself_is_folded():
    """`before_record` may have added it."""
    fields = dict(an_exception(), labels=["l"], group="g")
    body = sent(kinds.EXCEPTION, fields)
    assert body["data"]["_labels"] == ["l"] and body["data"]["_group"] == "g"
    assert not set(body["data"]) & set(["_message", "_category"])


def test_folding_leaves_the_fields_it_is_given_alone():
    data, tags = {"k": 1}, ["a"]
    folded(kinds.EVENT, {"name": "e", "data": data, "message": "m"})
    folded(kinds.METRIC, {"name": "m", "value": 1, "tags": tags, "unit": "s"})
    assert data == {"k": 1} and tags == ["a"]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "kind, fields",
    [
        (kinds.EVENT, {"name": "e", "data": "text", "category": "c"}),
        (kinds.EVENT, {"name": "e", "data": ["list"], "message": "m"}),
        (kinds.METRIC, {"name": "m", "value": 1, "tags": [1], "unit": "s"}),
        (kinds.METRIC, {"name": "m", "value": 1, "tags": "text", "unit": "s"}),
    ],
)
def test_a_row_of_an_odd_shape_is_sent_as_it_is(kind, fields, late):
    """An older datacat may have left it; the server refuses it, and the session goes on."""
    one = record(kind, fields)
    assert CLASSIC.send(one, "id", late=late, fold=True).body == one.body


def test_metadata_beyond_ascii_reads_well_in_a_tag():
    fields = build.metric("m", 1, metadata={u"gr\xfcn": u"\u20ac"})
    assert sent(kinds.METRIC, fields)["tags"] == [u'metadata:{"gr\xfcn":"\u20ac"}']


def test_what_folding_would_make_too_large_is_sent_without_it():
    """JSON within a text grows by each quote."""
    one = record(kinds.METRIC, build.metric("m", 1, metadata={"k": ['"'] * 150000}))
    assert len(one.body) < build.MAX_BYTES
    assert CLASSIC.send(one, "id", fold=True).body == one.body
