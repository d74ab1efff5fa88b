"""JSON is read and written as Go's encoding/json does it."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacat.collector import go_json

NUMBERS = [
    (0.0, "0"),
    (-0.0, "-0"),
    (1.0, "1"),
    (-1.5, "-1.5"),
    (100.0, "100"),
    (0.1, "0.1"),
    (1e20, "100000000000000000000"),
    (1e21, "1e+21"),
    (-1e21, "-1e+21"),
    (1.5e300, "1.5e+300"),
    (999999999999999900000.0, "999999999999999900000"),
    (1e-6, "0.000001"),
    (1e-7, "1e-7"),
    (1.5e-9, "1.5e-9"),
    (1e-10, "1e-10"),
    (0.00001234, "0.00001234"),
    (1e16, "10000000000000000"),
    (123456789012345678.0, "123456789012345680"),
    (9007199254740993.0, "9007199254740992"),
    (12345678.25, "12345678.25"),
    (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
]


@pytest.mark.parametrize("value, text", NUMBERS)
def test_a_number_is_written_as_go_writes_a_float64(value, text):
    assert go_json.write_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_written_and_read_is_the_same(value):
    text = go_json.write_number(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?|-?\d(\.\d+)?e(-[1-9]\d*|\+\d\d+)", text)
    read = go_json.read(text.encode("ascii"))
    assert read == value and math.copysign(1, read) == math.copysign(1, value)


# Go reads integers in free data as float64, like all numbers.
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"])),
    lambda inner: st.lists(inner)
    | st.dictionaries(st.text(st.characters(blacklist_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(DATA)
def test_any_value_written_is_json_that_reads_the_same(value):
    text = go_json.write(value)
    assert json.loads(text, parse_int=float) == value
    assert go_json.read(text.encode("utf-8")) == value
    assert not re.search("[<>&\u2028\u2029\x00-\x1f]", text)


def test_keys_are_sorted_by_code_point():
    assert go_json.write(
        {"b": None, "a": True, "Z": False, "\u00e9": 1.0, "\U0001f600": 2.0, "\uffff": 3.0}
    ) == ('{"Z":false,"a":true,"b":null,"\u00e9":1,"\uffff":3,"\U0001f600":2}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"[" + b"9" * 400 + b"]",
        b"nul",
        b'"\n"',
        b"01",
        b"\xef\xbb\xbf1",
        b"{} x",
        b"'a'",
        b"[" * 100000,
    ],
)
def test_text_that_go_does_not_accept_is_refused(body):
    with pytest.raises(go_json.NotJson):
        go_json.read(body)


@pytest.mark.parametrize(
    "body, value",
    [(b"{} x", {}), (b" 1.5 {", 1.5), (b"nulljunk", None), (b"{}}", {}), (b"[1]\xff", [1])],
)
def test_a_decoder_of_a_stream_ignores_what_follows_the_first_value(body, value):
    assert go_json.read(body, trailing=True) == value


def test_lone_surrogates_are_replaced_in_keys_and_deep_inside():
    body = b'{"\\udfff":[{"a":"\\ud83d\\ude00\\ud83d"}],"\\\\ud800":"\\\\ud800"}'
    assert go_json.read(body) == {"\ufffd": [{"a": "\U0001f600\ufffd"}], "\\ud800": "\\ud800"}


def test_each_byte_that_is_not_utf8_is_replaced():
    assert go_json.read(b'"\xe2\x82\xc0\x80\xf4\x90\x80\x80\xc3\xa9"') == "\ufffd" * 8 + "\u00e9"


def test_an_object_remembers_repeated_keys():
    value = go_json.read(b'{"a":1,"a":2}')
    assert value == {"a": 2} and value.pairs == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("depth, fits", [(go_json.DEEPEST, True), (go_json.DEEPEST + 1, False)])
def test_nesting_is_written_up_to_the_limit(depth, fits):
    value = None
    for _ in range(depth):
        value = [value]
    if fits:
        assert go_json.write(value) == "[" * depth + "null" + "]" * depth
    else:
        with pytest.raises(go_json.NotJson, match="300 levels"):
            go_json.write(value)
