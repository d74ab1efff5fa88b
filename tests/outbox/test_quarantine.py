"""Damaged outboxes that are kept are few, and gone before a record is dropped for lack of room."""

from __future__ import absolute_import, division

import os
import time

import pytest
from tools.outboxes import NAME, SCOPE, WHERE, Box, Warnings

from datacat.outbox import bounds, quarantine
from datacat.outbox.quarantine import expired
from datacat.outbox.spool import Spool

DAY = 86400
NOW = 1700000000
OTHER = "cccccccccccc-bbbbbbbbbbbb.outbox"


def kept(age, name=NAME):
    return os.path.basename(quarantine.kept_path(name, NOW - age))


@pytest.mark.parametrize(
    "names, gone",
    [
        ([kept(age) for age in (1, 2, 3)], []),
        ([kept(age) for age in (4, 1, 2, 3)], [kept(4)]),
        # A log goes with its file, and counts as no other.
        (
            [kept(1), kept(1) + "-wal", kept(2), kept(3), kept(4), kept(4) + "-wal"],
            [kept(4), kept(4) + "-wal"],
        ),
        ([kept(31 * DAY), kept(29 * DAY)], [kept(31 * DAY)]),
        # Another program keeps its own, but not for ever: it may be uninstalled.
        ([kept(age, OTHER) for age in (1, 2, 3, 4)], []),
        ([kept(31 * DAY, OTHER)], [kept(31 * DAY, OTHER)]),
        # Whatever else lies there.
        ([NAME, NAME + "-wal", "notes.corrupt-1", NAME + ".corrupt-old"], []),
    ],
)
def test_the_newest_three_are_kept_for_thirty_days(names, gone):
    assert expired(names, SCOPE, NOW, quarantine.KEPT) == sorted(gone)


def test_they_are_removed_when_a_process_looks_for_outboxes(tmp_path):
    for age in range(5):
        path = quarantine.kept_path(str(tmp_path / NAME), time.time() - age)
        with open(path, "wb") as stream:
            stream.write(b"x")
    Spool(str(tmp_path), WHERE, False, Warnings()).candidates([])
    assert len(os.listdir(str(tmp_path))) == 3


def test_they_go_before_a_record_is_dropped(tmp_path):
    """6,112 of 8,000 records were dropped once, for a damaged file that nobody looked at."""
    bound = 4 * 1024 * 1024
    path = quarantine.kept_path(str(tmp_path / (SCOPE + "-cccccccccccc.outbox")), time.time())
    with open(path, "wb") as stream:
        stream.write(b"x" * bound)
    box = Box(tmp_path, max_bytes=bound)
    assert bounds.share(box.path, bound) <= 1024 * 1024
    box.append(*[b"x" * 1000] * 2000)
    assert box.entry.dropped == 0 and not os.path.exists(path)
    box.append(*[b"x" * 1000] * 4000)
    assert box.entry.dropped > 0
    box.close()
