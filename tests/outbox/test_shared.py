# -*- coding: utf-8 -*-
"""The marks that forked children leave beside their parent's outbox."""

from __future__ import absolute_import, division

import io
import os

import pytest

from datacat.outbox.shared import SHARED, copy_marks, is_marked_shared, mark_shared


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "an.outbox")


def test_a_mark_holds_for_the_sessions_that_it_names_and_no_others(path):
    for server_id in (u"s1", u"zw\u00f6lf", u"s1\u2028s3"):
        assert not is_marked_shared(path, server_id)
        assert mark_shared(path, server_id)
        assert is_marked_shared(path, server_id)
    for server_id in (u"s", u"s3", u"s11", u"", None):
        assert not is_marked_shared(path, server_id)


def test_a_mark_that_could_be_written_in_part_only_spoils_no_other(path):
    """The disk was full; the child whose mark it is opens a session of its own."""
    with io.open(path + SHARED, "wb") as stream:
        stream.write(b'\n"a torn')
    assert mark_shared(path, u"s1")
    assert is_marked_shared(path, u"s1") and not is_marked_shared(path, u"a torn")


@pytest.mark.parametrize("make", [lambda path: io.open(path, "wb").close(), os.mkdir])
def test_a_mark_that_names_no_session_holds_for_all(path, make):
    """One of an older datacat, or one that cannot be read: counting then proves nothing."""
    make(path + SHARED)
    assert is_marked_shared(path, u"s1")


def test_a_mark_goes_on_beside_the_outbox_that_replaces_the_marked_one(path, tmp_path):
    other = str(tmp_path / "other.outbox")
    copy_marks(path, other)
    assert not os.path.exists(other + SHARED)
    for server_id in (u"s1", u"s2"):
        mark_shared(path, server_id)
    copy_marks(path, other)
    assert is_marked_shared(other, u"s1") and is_marked_shared(other, u"s2")
    assert not is_marked_shared(other, u"s3")


def test_an_outbox_in_memory_cannot_be_marked():
    assert not mark_shared(":memory:", u"s1") and not is_marked_shared(":memory:", u"s1")
