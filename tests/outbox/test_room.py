"""Bounds: what is dropped when there is too much, in which order, and that losses are reported."""

from __future__ import absolute_import, division

import json
import os

import pytest
from tools.outboxes import (
    NAME,
    SCOPE,
    Box,
    Clock,
    applied,
    losses_told_in,
)

from datacat.outbox import bounds, memory
from datacat.outbox.memory import MemoryQueue
from datacat.records import build, kinds

MIB = 1024 * 1024


def test_memory_is_bounded_and_the_loss_is_counted_in_order_of_worth(box):
    box.store.full = True
    assert memory.MEMORY_BYTES == 16 * MIB
    for _number in range(100):
        for kind in (kinds.EXCEPTION, kinds.METRIC, kinds.EVENT):
            box.outbox.append(box.entry, kind, b"x" * 100000)
    box.outbox.append(box.entry, kinds.END, b"{}")
    waiting = box.outbox.disk.memory.some(1000)
    assert sum(len(record.body) for record in waiting) <= 16 * MIB
    left = [record.kind for record in waiting]
    assert left.count(kinds.METRIC) < 5 and left.count(kinds.EXCEPTION) == 100
    assert 40 < left.count(kinds.EVENT) < 100 and left[-1] == kinds.END
    assert box.entry.dropped == 301 - len(waiting) and "dropped" in box.warnings.topics
    head = box.outbox.head(box.entry)
    assert head.number == 1


def fill(box, several, rounds, size=930):
    for number in range(rounds):
        for kind in several:
            body = b'{"n":%d,"p":"%s"}' % (number, b"x" * size)
            box.outbox.append(box.entry, kind, body)


def waiting_kinds(box):
    rows = box.store.outline(box.number, 0, 100000)
    return [kind for _, kind, _ in rows]


def test_the_order_of_sacrifice_at_the_cap_is_that_of_the_design(make_box):
    box = make_box(max_bytes=333000)
    box.outbox.append(box.entry, kinds.OPEN, b"{}")
    fill(box, [kinds.METRIC, kinds.EVENT, kinds.EXCEPTION], 100)
    fill(box, [kinds.STATE], 50)
    assert box.store.size() <= 355000
    assert box.entry.merged >= 30, "neighbouring states are merged first"
    fill(box, [kinds.EVENT], 1)
    left = waiting_kinds(box)
    assert left[0] == kinds.OPEN
    assert left.count(kinds.METRIC) + left.count(kinds.EVENT) < 201
    assert left.count(kinds.EXCEPTION) == 100
    fill(box, [kinds.EVENT], 300)
    left = waiting_kinds(box)
    assert left.count(kinds.METRIC) == 0 and left.count(kinds.EXCEPTION) == 100
    fill(box, [kinds.EXCEPTION], 400)
    left = waiting_kinds(box)
    assert left.count(kinds.EVENT) == 0 and 100 < left.count(kinds.EXCEPTION) < 400
    assert left[0] == kinds.OPEN and left.count(kinds.STATE) >= 1
    assert box.store.size() <= 355000
    assert len(box.drain()) == len(left) and box.entry.waiting == 0


def test_the_oldest_are_dropped_but_never_one_that_may_be_in_flight(make_box):
    box = make_box(max_bytes=200000)
    box.append(b"{}")
    box.outbox.head(box.entry)
    fill(box, [kinds.METRIC], 999)
    numbers = [record.number for record in box.drain()]
    assert numbers[0] == 1 and numbers[1] > 500
    assert numbers[1:] == list(range(numbers[1], 1001))


def test_states_that_cannot_be_merged_are_dropped_last(make_box):
    box = make_box(max_bytes=100000)
    for _number in range(400):
        value = {"n": None, "p": "x" * 900}
        box.outbox.append(box.entry, kinds.STATE, build.encode({"k": value}))
    assert box.store.size() < 130000 and box.entry.dropped > 100


def test_neighbouring_states_at_the_cap_end_in_the_same_state(make_box):
    box = make_box(max_bytes=100000)
    updates = [{"a": {"k%d" % (n % 7): n}, "b": n, "p": "x" * 300} for n in range(500)]
    for update in updates:
        box.outbox.append(box.entry, kinds.STATE, build.encode(update))
    drained = [json.loads(record.body.decode("ascii")) for record in box.drain()]
    assert box.entry.merged == 500 - len(drained) > 200 and box.entry.dropped == 0
    for null_deletes in (False, True):
        assert applied(drained, null_deletes) == applied(updates, null_deletes)


def test_other_outboxes_of_the_spool_count_towards_the_cap(make_box, tmp_path):
    for name in (SCOPE + "-cccccccccccc.outbox", SCOPE + "-cccccccccccc.outbox-wal", "notes"):
        with open(str(tmp_path / name), "wb") as other:
            other.write(b"x" * 2 * MIB)
    assert bounds.share(str(tmp_path / NAME), 6 * MIB) == 2 * MIB
    assert bounds.share(str(tmp_path / NAME), 4 * MIB) == MIB
    box = make_box(max_bytes=4 * MIB)
    fill(box, [kinds.EVENT], 1500)
    assert box.store.size() <= 1.05 * MIB and box.entry.dropped > 300


def test_a_file_that_goes_while_the_others_are_measured_hides_none_of_them(tmp_path, monkeypatch):
    for name in "cd":
        with open(str(tmp_path / (SCOPE + "-%s.outbox" % (name * 12))), "wb") as other:
            other.write(b"x" * 2 * MIB)
    sizes, getsize = [], os.path.getsize

    def gone_first(path):
        sizes.append(path)
        if len(sizes) == 1:
            raise OSError("gone")
        return getsize(path)

    monkeypatch.setattr(os.path, "getsize", gone_first)
    assert bounds.share(str(tmp_path / NAME), 6 * MIB) == 4 * MIB and len(sizes) == 2


@pytest.mark.parametrize("owned, expected", [(True, 6), (False, 2), (None, 2)])
def test_another_programs_outbox_counts_unless_that_program_runs(
    tmp_path, monkeypatch, owned, expected
):
    """A living one keeps to a bound of its own; what a changed host name left is nobody's."""
    with open(str(tmp_path / ("d" * 12 + "-cccccccccccc.outbox")), "wb") as foreign:
        foreign.write(b"x" * 4 * MIB)
    monkeypatch.setattr(bounds, "has_owner", lambda path, ours=None: owned)
    assert bounds.share(str(tmp_path / NAME), 6 * MIB) == expected * MIB


def test_a_log_call_at_the_cap_does_a_slice_of_work_only(make_box, monkeypatch):
    """However much there is to search and to sacrifice; the next call goes on with it."""
    box = make_box(max_bytes=8 * MIB)
    fill(box, [kinds.EVENT], 7800)
    rows, outline = [], box.store.outline

    def counted(*arguments):
        found = outline(*arguments)
        rows.append(len(found))
        return found

    monkeypatch.setattr(box.store, "outline", counted)
    searches = set()
    for _ in range(600):
        dropped = box.entry.dropped
        fill(box, [kinds.EVENT], 1)
        assert box.entry.dropped - dropped <= 500
        searches.add(sum(rows))
        del rows[:]
    assert box.entry.dropped > 0 and box.entry.waiting > 7000
    assert 500 <= max(searches) <= 1000


def test_drops_are_reported_once_and_the_report_is_kept_with_its_count(make_box, tmp_path):
    box = make_box(max_bytes=200000)
    fill(box, [kinds.METRIC], 400)
    lost = box.entry.dropped
    assert box.outbox.has_unreported and lost > 0
    box.outbox.report_drops()
    box.outbox.report_drops()
    assert not box.outbox.has_unreported
    (tmp_path / "copy").mkdir()
    box.copy_as_killed(tmp_path / "copy")
    heir = Box(tmp_path / "copy")
    assert not heir.outbox.has_unreported
    heir.close()
    bodies = box.bodies()
    assert bodies[-1] == build.encode(build.dropped(lost))
    assert bodies.count(bodies[-1]) == 1


def test_a_sacrifice_that_a_full_disk_refused_is_made_up_for(make_box):
    box = make_box(max_bytes=65536)
    box.store.full = True
    fill(box, [kinds.EVENT], 60)
    box.store.full = False
    box.outbox.upkeep.heal(None)
    box.store.full = True
    box.outbox.upkeep.measure()
    assert box.entry.dropped == 0
    box.store.full = False
    box.outbox.upkeep.heal(None)
    box.outbox.upkeep.measure()
    assert box.entry.dropped > 0 and box.store.size() <= 65536


def test_a_report_is_never_sacrificed_itself(make_box):
    box = make_box(max_bytes=200000)
    for _round in range(5):
        fill(box, [kinds.EVENT], 400)
        box.outbox.report_drops()
    assert sum(losses_told_in(box.bodies())) == box.entry.dropped > 0


def test_a_report_in_memory_is_never_sacrificed_itself(box, monkeypatch):
    monkeypatch.setattr(box.outbox.disk, "memory", MemoryQueue(max_bytes=100000))
    box.store.full = True
    box.append(b"{}")
    for _round in range(5):
        fill(box, [kinds.EVENT], 400)
        box.outbox.report_drops()
    assert sum(losses_told_in(box.bodies())) == box.entry.dropped > 0


def test_dead_letters_are_kept_with_the_servers_reason_and_bounded(box):
    for number in range(50):
        box.append(b"%02d" % number + b"x" * 100000)
        box.outbox.bury(box.entry, box.outbox.head(box.entry), 400, u"Invalid request body")
    letters = box.outbox.dead_letters()
    assert sum(len(letter.record.body) for letter in letters) <= 4 * MIB
    assert letters[-1].record.body[:2] == b"49" and len(letters) > 35
    assert letters[-1].status == 400 and letters[-1].words == u"Invalid request body"
    assert box.entry.dead == 50 and box.entry.waiting == 0


def test_dead_letters_are_deleted_after_thirty_days(make_box, tmp_path):
    clock = Clock()
    box = make_box(wall=clock)
    box.append(b"1")
    box.outbox.bury(box.entry, box.outbox.head(box.entry), 400, u"no")
    box.outbox.say_goodbye(box.entry, "ended")
    box.outbox.close()
    assert os.path.exists(box.path), "what the server refused is worth a look"
    clock.now += 29 * 86400
    box = make_box(wall=clock)
    assert len(box.outbox.dead_letters()) == 1
    box.outbox.close()
    clock.now += 2 * 86400
    box = make_box(wall=clock)
    assert box.outbox.dead_letters() == []
    box.outbox.close()
    assert not os.path.exists(box.path)
