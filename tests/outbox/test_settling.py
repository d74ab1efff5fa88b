"""Promises of an outbox about several records in flight: settled together, or out of turn."""

from __future__ import absolute_import, division

import pytest
from tools.outboxes import CAP, Warnings

from datacat.outbox.outbox import Outbox
from datacat.outbox.store import Store

BODIES = [b"%d" % number for number in range(1, 9)]


@pytest.fixture
def full_box(box):
    box.append(*BODIES)
    return box


def bodies(records):
    return [record.body for record in records]


def counted(entry):
    return entry.waiting, entry.sent, entry.gone, entry.overtaken


def test_the_oldest_records_are_returned_in_order_and_may_be_in_flight(full_box):
    entry = full_box.entry
    assert bodies(full_box.outbox.front(entry, 3)) == BODIES[:3]
    assert entry.handed == 3
    assert full_box.outbox.head(entry).body == BODIES[0]
    assert bodies(full_box.outbox.front(entry, 100)) == BODIES


def test_nothing_is_at_the_front_of_a_session_that_has_nothing(box):
    assert box.outbox.front(box.entry, 8) == []


def test_a_window_is_settled_in_one_transaction_and_counted(full_box):
    box = full_box
    window = box.outbox.front(box.entry, 5)
    commits = box.outbox.disk.changed
    box.outbox.settle_all(box.entry, window)
    assert box.outbox.disk.changed == commits + 1
    assert counted(box.entry) == (3, 5, 5, 0)
    box.outbox.settle_all(box.entry, window)
    assert counted(box.entry) == (3, 5, 5, 0), "counted again"
    assert box.bodies() == BODIES[5:]


def test_what_overtook_an_older_record_is_out_and_never_returned_again(full_box):
    box = full_box
    window = box.outbox.front(box.entry, 6)
    box.outbox.settle_all(box.entry, window[:2])
    box.outbox.settle_all(box.entry, window[3:], overtaken=1)
    assert counted(box.entry) == (3, 5, 5, 1)
    assert bodies(box.outbox.front(box.entry, 8)) == [b"3", b"7", b"8"]
    box.outbox.settle_all(box.entry, window[3:], overtaken=1)
    assert counted(box.entry) == (3, 5, 5, 1), "counted again"
    assert box.bodies() == [b"3", b"7", b"8"]
    assert counted(box.entry) == (0, 8, 8, 1) and not box.entry.ahead


def test_the_next_process_sends_nothing_that_was_out_of_turn(full_box, tmp_path):
    box = full_box
    window = box.outbox.front(box.entry, 6)
    box.outbox.settle_all(box.entry, window[1:], overtaken=1)
    copy = Outbox(Store(box.copy_as_killed_into(tmp_path / "copy")), CAP, Warnings())
    (entry,) = copy.entries()
    assert counted(entry) == (3, 5, 5, 1)
    assert bodies(copy.front(entry, 8)) == [b"1", b"7", b"8"]
    copy.close()


def test_while_the_disk_refuses_what_is_out_of_turn_is_not_returned(full_box):
    """Its rows cannot be deleted; they are once the disk has healed."""
    box = full_box
    window = box.outbox.front(box.entry, 6)
    box.store.full = True
    box.outbox.settle_all(box.entry, window[1:], overtaken=1)
    assert box.outbox.refusal is not None
    assert bodies(box.outbox.front(box.entry, 8)) == [b"1", b"7", b"8"]
    box.append(b"9")
    box.store.full = False
    assert box.outbox.upkeep.heal(None)
    assert counted(box.entry) == (4, 5, 5, 1)
    assert box.bodies() == [b"1", b"7", b"8", b"9"]


def test_while_some_wait_in_memory_only_the_oldest_is_at_hand(full_box):
    full_box.store.full = True
    full_box.append(b"9")
    assert bodies(full_box.outbox.front(full_box.entry, 8)) == [b"1"]
