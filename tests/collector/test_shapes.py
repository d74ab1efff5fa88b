"""Fields are read from JSON as Go fills a struct."""

import pytest

from datacat.collector import go_json, shapes

SHAPE = {
    "message": shapes.TEXT,
    "value": shapes.NUMBER,
    "line": shapes.INTEGER,
    "count": shapes.OPTIONAL_INTEGER,
    "tags": shapes.TEXTS,
    "data": shapes.MAPPING,
    "at": shapes.TIMESTAMP,
}
ZERO = {
    "message": "",
    "value": 0.0,
    "line": 0,
    "count": None,
    "tags": None,
    "data": None,
    "at": None,
}


def filled(text):
    return shapes.fill(SHAPE, go_json.read(text.encode("utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "{}",
        '{"other":[1]}',
        '{"message":null,"value":null}',
        '{"line":null,"count":null,"tags":null,"data":null,"at":null}',
    ],
)
def test_a_missing_or_null_field_is_zero(text):
    assert filled(text) == (ZERO, True)


@pytest.mark.parametrize(
    "text, field, value",
    [
        ('{"Message":"m"}', "message", "m"),
        ('{"me\u017f\u017fage":"m"}', "message", "m"),
        ('{"message":"a","MESSAGE":"b"}', "message", "b"),
        ('{"me\u00dfage":"m"}', "message", ""),
        ('{"value":3}', "value", 3.0),
        ('{"value":1,"value":null}', "value", 1.0),
        ('{"line":-0}', "line", 0),
        ('{"count":9223372036854775807}', "count", 2**63 - 1),
        ('{"count":1,"count":null}', "count", None),
        ('{"tags":["a",null]}', "tags", ["a", ""]),
        ('{"tags":[]}', "tags", []),
        ('{"data":{}}', "data", {}),
        ('{"data":{"a":1,"b":1},"data":{"b":2}}', "data", {"a": 1, "b": 2}),
        ('{"data":{"a":1},"data":null}', "data", None),
        ('{"at":"2026-01-02T03:04:05.10Z"}', "at", "2026-01-02T03:04:05.1Z"),
    ],
)
def test_a_field_has_the_value_that_go_would_give_it(text, field, value):
    assert filled(text) == (dict(ZERO, **{field: value}), True)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "3",
        '"x"',
        "true",
        '{"message":1}',
        '{"message":["m"]}',
        '{"value":"1"}',
        '{"value":true}',
        '{"line":1.0}',
        '{"line":1e2}',
        '{"line":"3"}',
        '{"count":9223372036854775808}',
        '{"count":-9223372036854775809}',
        '{"count":1.5}',
        '{"tags":"a"}',
        '{"tags":[1]}',
        '{"data":[]}',
        '{"data":"x"}',
        '{"at":1}',
        '{"at":""}',
        '{"at":"2026-01-02T03:04:05"}',
    ],
)
def test_a_value_of_another_type_does_not_fit_and_leaves_the_field(text):
    assert filled(text) == (ZERO, False)


def test_the_other_fields_are_still_read():
    assert filled('{"message":7,"value":2}') == (dict(ZERO, value=2.0), False)
