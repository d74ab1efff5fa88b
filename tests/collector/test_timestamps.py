"""Timestamps are RFC 3339 as Go reads and prints it."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacat.collector import timestamps


@pytest.mark.parametrize(
    "nanoseconds, text",
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1767323045123456000, "2026-01-02T03:04:05.123456Z"),
        (1767323045100000000, "2026-01-02T03:04:05.1Z"),
    ],
)
def test_a_moment_is_printed_without_trailing_zeros(nanoseconds, text):
    assert timestamps.printed(nanoseconds) == text


@given(st.integers(min_value=0, max_value=4 * 10**18))
def test_a_printed_timestamp_is_normalised(nanoseconds):
    text = timestamps.printed(nanoseconds)
    assert timestamps.normalised(text) == text


@given(st.datetimes(min_value=datetime.datetime(1000, 1, 1)), st.integers(-23 * 60, 23 * 60))
def test_a_timestamp_of_any_zone_comes_back_as_the_same_moment(moment, minutes):
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    text = moment.replace(tzinfo=zone).isoformat()
    back = timestamps.normalised(text)
    assert back[:19] == text[:19]
    assert back.endswith("Z") == (minutes == 0)


def test_the_year_0_has_a_29th_of_february():
    assert timestamps.normalised("0000-02-29T00:00:00Z") == "0000-02-29T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-13-01T00:00:00Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+01:60",
        "2026-01-02T03:04:05Z\n",
        "\u0662026-01-02T03:04:05Z",
        " 2026-01-02T03:04:05Z",
    ],
)
def test_text_that_is_not_rfc_3339_with_a_zone_is_refused(text):
    with pytest.raises(ValueError):
        timestamps.normalised(text)
