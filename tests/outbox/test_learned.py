"""Promises of what is learned about a server: it helps, and nothing depends on it."""

from __future__ import absolute_import, division

import os
import stat

import pytest

from datacat.outbox import names
from datacat.outbox.folder import remove_older
from datacat.outbox.learned import BELIEVED_SECONDS, Learned


class Wall(object):
    now = 1767323045.0

    def __call__(self):
        return self.now


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "aaaaaaaaaaaa.bbbbbbbbbbbb.server")


def test_another_process_knows_what_one_has_learned(path, wall):
    one, other = Learned(path, wall), Learned(path, wall)
    one.note("order", "kept")
    assert other.word("order") is None
    other.refresh()
    assert other.word("order") == "kept"
    other.note("rate", 4000)
    assert Learned(path, wall).word("order") == "kept"
    one.refresh()
    assert one.number("rate") == 4000


@pytest.mark.parametrize("passed", [BELIEVED_SECONDS + 1, -BELIEVED_SECONDS - 1])
def test_what_was_learned_is_believed_for_a_week(path, wall, passed):
    """Also if the clock was set back."""
    learned = Learned(path, wall)
    learned.note("order", "mixed")
    wall.now += passed / 2
    assert learned.word("order") == "mixed"
    wall.now += passed
    assert learned.word("order") is None


def test_a_number_that_varies_is_noted_from_time_to_time_and_if_it_became_another(path, wall):
    learned = Learned(path, wall)
    learned.note_roughly("rate", 1000.5)
    learned.note_roughly("rate", 9000)
    assert learned.number("rate") == 1000
    wall.now += 61
    learned.note_roughly("rate", 1900)
    assert Learned(path, wall).number("rate") == 1000
    learned.note_roughly("rate", 2100)
    assert Learned(path, wall).number("rate") == 2100
    wall.now += BELIEVED_SECONDS + 1
    learned.note_roughly("rate", 2100)
    assert learned.number("rate") == 2100


def test_without_a_file_it_is_known_in_this_process(wall):
    learned = Learned(None, wall)
    learned.note("order", "kept")
    learned.refresh()
    assert learned.word("order") == "kept"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"order":"kept"}',
        b'{"order":["kept"]}',
        b'{"order":["kept","yesterday"]}',
        b'{"order":null}',
        b"\xff\xfe",
        b"[" * 4000,
        b'{"a":[1,2]}' + b" " * 10000 + b"x",
    ],
)
def test_a_file_that_makes_no_sense_is_not_believed(path, wall, content):
    with open(path, "wb") as stream:
        stream.write(content)
    learned = Learned(path, wall)
    assert learned.word("order") is None
    learned.note("order", "kept")
    assert Learned(path, wall).word("order") == "kept"


def test_a_file_that_cannot_be_written_harms_nothing(tmp_path, wall):
    learned = Learned(str(tmp_path / "missing" / "aaaaaaaaaaaa.bbbbbbbbbbbb.server"), wall)
    learned.note("order", "kept")
    assert learned.word("order") == "kept"
    blocked = Learned(str(tmp_path), wall)
    blocked.note("order", "kept")
    assert blocked.word("order") == "kept"
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_only_this_user_may_read_it(path, wall):
    Learned(path, wall).note("order", "kept")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_it_lies_beside_the_outboxes_and_is_none():
    outbox = os.path.join("spool", "0123456789ab-0123456789ab.0123456789ab.outbox")
    path = names.learned_of(outbox)
    assert os.path.dirname(path) == "spool"
    assert names.outbox_of(path) is None
    assert names.learned_of(":memory:") is None


def test_a_file_that_nobody_believes_any_more_is_removed(path, wall):
    Learned(path, wall).note("order", "kept")
    written = os.stat(path).st_mtime
    folder = os.path.dirname(path)
    remove_older(folder, names.is_learned, BELIEVED_SECONDS, written + BELIEVED_SECONDS - 1)
    assert os.path.exists(path)
    remove_older(folder, names.is_learned, BELIEVED_SECONDS, written + BELIEVED_SECONDS + 1)
    assert not os.path.exists(path)
    remove_older(os.path.join(path, "missing"), names.is_learned, BELIEVED_SECONDS, written)
