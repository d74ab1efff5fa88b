"""Two updates of a state are merged only if that cannot change the result."""

from __future__ import absolute_import, division

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.outboxes import (
    applied,
)

from datacat.records.merging import merge_updates

LEAVES = st.one_of(st.none(), st.integers(0, 3))


TREES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(LEAVES, inner), max_size=3),
    max_leaves=8,
)


@given(TREES, TREES, TREES, st.booleans())
def test_merging_updates_never_changes_the_result(state, earlier, later, null_deletes):
    merged = merge_updates(earlier, later)
    if merged is not None:
        assert applied([merged], null_deletes, state) == applied(
            [earlier, later], null_deletes, state
        )


@pytest.mark.parametrize(
    "earlier, later, merged",
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1}}, {"a": {"c": {"d": None}}}, {"a": {"b": 1, "c": {"d": None}}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"b": 1}}, None),
        ({"a": None}, {"a": {"b": 1}}, None),
        ({"a": {"b": 1}}, {"a": {"b": None}}, None),
    ],
)
def test_which_updates_are_merged(earlier, later, merged):
    assert merge_updates(earlier, later) == merged
