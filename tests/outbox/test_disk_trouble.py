"""Disks that are full, slow or damaged, and deleted files: nothing is lost that can be kept."""

from __future__ import absolute_import, division

import os
import shutil
import sys
import threading

import pytest
from tools.outboxes import (
    CAP,
    DISK_CLOCK,
    NAME,
    WHERE,
    Box,
    Warnings,
    sql,
)
from tools.waiting import PATIENCE

from datacat.outbox import bounds, disk, intake, outbox
from datacat.outbox.no_store import NoStore
from datacat.outbox.refusals import SpoolUnusable, StoreDamaged, StoreRefused
from datacat.outbox.spool import Spool
from datacat.outbox.store import Store
from datacat.records import kinds

MIB = 1024 * 1024


def test_while_the_disk_is_full_records_wait_in_memory_and_all_is_written_when_it_heals(box):
    box.append(b"1", b"2")
    box.store.full = True
    box.append(b"3", b"4")
    assert box.outbox.in_memory == 2 and box.store.refused
    assert box.warnings.topics == ["disk"]
    assert box.outbox.head(box.entry).body == b"1"
    assert not box.outbox.upkeep.heal(None)
    box.store.full = False
    assert box.outbox.upkeep.heal(None)
    assert box.outbox.in_memory == 0 and box.outbox.refusal is None
    assert box.bodies() == [b"1", b"2", b"3", b"4"]


def test_a_disk_that_is_full_again_is_warned_of_again(box):
    for times in (1, 2):
        box.store.full = True
        box.append(b"1")
        assert box.warnings.topics == ["disk"] * times
        assert box.warnings.cleared.count("disk") == times - 1
        box.store.full = False
        assert box.outbox.upkeep.heal(None)


def test_sending_goes_on_while_the_disk_is_full_and_nothing_comes_back_afterwards(box, tmp_path):
    box.append(b"1", b"2", b"3")
    box.store.full = True
    box.append(b"4", b"5")
    sent = []
    for _ in range(4):
        record = box.outbox.head(box.entry)
        sent.append(record.body)
        box.outbox.settle(box.entry, record, state=b'{"n":%d}' % record.number)
    assert sent == [b"1", b"2", b"3", b"4"]
    assert box.outbox.state(box.entry) == b'{"n":4}'
    box.outbox.bury(box.entry, box.outbox.head(box.entry), 400, u"no")
    box.store.full = False
    assert box.outbox.upkeep.heal(None)
    other = tmp_path / "copy"
    other.mkdir()
    box.copy_as_killed(other)
    heir = Box(other)
    assert heir.entry.sent == 4 and heir.entry.waiting == 0
    assert heir.outbox.state(heir.entry) == b'{"n":4}'
    assert [letter.record.body for letter in heir.outbox.dead_letters()] == [b"5"]
    heir.close()


def test_settles_are_written_while_there_is_room_for_them_alone(box, tmp_path):
    """The reserve, freed when the disk is full, keeps room for deletes."""
    box.append(b"1", b"2", b"3")
    box.store.full_for_inserts = True
    box.append(b"4")
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    other = tmp_path / "copy"
    other.mkdir()
    box.copy_as_killed(other)
    heir = Box(other)
    assert heir.bodies() == [b"2", b"3"]
    heir.close()


def test_the_reserve_is_freed_when_the_disk_is_full_and_taken_again(box):
    reserve = box.path + bounds.RESERVE
    box.append(b"x" * 64 * 1024)
    box.outbox.upkeep.measure()
    assert os.path.getsize(reserve) == 256 * 1024
    box.store.full = True
    box.append(b"1")
    assert not os.path.exists(reserve)
    box.store.full = False
    box.outbox.upkeep.heal(None)
    box.outbox.upkeep.measure()
    assert os.path.exists(reserve)


def test_a_small_outbox_has_no_reserve_and_one_that_grows_gets_it_at_once(box):
    """Many small ones would fill the spool; a large one must note what is delivered."""
    for _ in range(15):
        box.append(b"x" * 1000)
    box.outbox.upkeep.measure()
    assert not os.path.exists(box.path + bounds.RESERVE)
    for _ in range(60):
        box.append(b"x" * 1000)
    assert os.path.exists(box.path + bounds.RESERVE)


@pytest.mark.parametrize(
    "size, free, is_full",
    [
        (296 * 1024, 13 * 1024, False),
        (296 * 1024, 1025, False),
        (296 * 1024, 1023, True),
        (10 * 1024, 513, False),
        (10 * 1024, 511, True),
    ],
)
def test_a_disk_is_nearly_full_below_five_percent_and_one_gibibyte(
    monkeypatch, size, free, is_full
):
    monkeypatch.setattr(bounds._compat, "disk_space", lambda folder: (size * MIB, free * MIB))
    assert bounds.is_disk_nearly_full("/folder/outbox") is is_full


def test_the_disks_last_five_percent_are_not_used(box, monkeypatch):
    space = [1000 * MIB, 60 * MIB]
    monkeypatch.setattr(bounds._compat, "disk_space", lambda folder: tuple(space))
    box.append(b"1")
    box.outbox.upkeep.measure()
    assert box.outbox.refusal is None
    space[1] = 49 * MIB
    box.outbox.upkeep.measure()
    box.append(b"2")
    assert box.outbox.in_memory == 1 and "5%" in str(box.outbox.refusal)
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    assert not box.outbox.upkeep.heal(None)
    space[1] = 60 * MIB
    assert box.outbox.upkeep.heal(None)
    assert box.bodies() == [b"2"]


def test_without_a_file_records_wait_in_memory(tmp_path):
    warnings = []
    line = outbox.Outbox(NoStore("no home"), 1 << 28, lambda *told: warnings.append(told))
    entry = line.add_session(u"local-1", b"{}")
    assert line.append(entry, kinds.EVENT, b"1")
    assert line.append(entry, kinds.EVENT, b"2")
    assert line.in_memory == 2 and line.refusal is not None
    line.settle(entry, line.head(entry))
    assert line.head(entry).body == b"2" and not line.upkeep.heal(None)
    line.bury(entry, line.head(entry), 400, u"no")
    assert entry.waiting == 0 and len(line.dead_letters()) == 1
    line.upkeep.measure()
    line.upkeep.sync()
    line.upkeep.shrink()
    line.close()


def test_a_process_without_a_usable_folder_tries_again_and_writes_all(tmp_path):
    """A folder that becomes writable later is used: what waits is no longer in memory alone."""
    folder = tmp_path / "not yet"
    folder.write_bytes(b"a file in the folder's place")
    warnings = Warnings()
    spool = Spool(str(folder), WHERE, False, warnings)
    with pytest.raises(SpoolUnusable) as refusal:
        spool.claim()
    line = outbox.Outbox(NoStore(refusal.value), CAP, warnings)
    line.note(process="4711")
    entry = line.add_session(u"local-1", b"{}")
    for body in (b"1", b"2", b"3"):
        assert line.append(entry, kinds.EVENT, body)
    line.settle(entry, line.head(entry))
    assert not line.upkeep.heal(spool.replacement)
    assert line.in_memory == 2 and warnings.topics == ["disk"]
    folder.unlink()
    assert line.upkeep.heal(spool.replacement)
    assert line.in_memory == 0 and line.refusal is None
    assert line.append(entry, kinds.EVENT, b"4")
    heir = tmp_path / "heir"
    heir.mkdir()
    for ending in ("", "-wal"):
        shutil.copyfile(line.path + ending, str(heir / NAME) + ending)
    line.close()
    left = Box(heir)
    assert left.entry.local_id == u"local-1" and left.outbox.notes()["process"] == "4711"
    assert left.bodies() == [b"2", b"3", b"4"] and left.entry.sent == 4
    left.close()


def test_if_sqlite_itself_is_unusable_no_file_is_tried(tmp_path):
    asked = []
    line = outbox.Outbox(NoStore("forked in the middle", is_final=True), CAP, Warnings())
    entry = line.add_session(u"local-1", b"{}")
    assert line.append(entry, kinds.EVENT, b"1")
    assert not line.upkeep.heal(asked.append) and asked == [] and entry.waiting == 1


FULL = StoreRefused("full")


@pytest.mark.parametrize(
    "state, event, following",
    [
        (disk.HEALTHY, FULL, disk.SETTLES_FIT),
        (disk.SETTLES_FIT, FULL, disk.REFUSING),
        (disk.REFUSING, FULL, disk.REFUSING),
        (disk.HEALTHY, StoreDamaged("malformed"), disk.DAMAGED),
        (disk.REFUSING, StoreDamaged("malformed"), disk.DAMAGED),
        (disk.DAMAGED, FULL, disk.DAMAGED),
        (disk.DELETED, FULL, disk.DELETED),
        (disk.HOMELESS, StoreDamaged("malformed"), disk.HOMELESS),
        (disk.HEALTHY, disk.VANISHED, disk.DELETED),
        (disk.DAMAGED, disk.MOVED, disk.REFUSING),
        (disk.HOMELESS, disk.MOVED, disk.REFUSING),
        (disk.REFUSING, disk.CAUGHT_UP, disk.SETTLES_FIT),
        (disk.SETTLES_FIT, disk.HEALED, disk.HEALTHY),
    ],
)
def test_an_event_leads_to_the_next_state(state, event, following):
    assert disk.next_state(state, event) is following


def test_a_page_that_cannot_be_read_now_is_not_counted_as_lost(box):
    box.append(b"1", b"2")
    page = box.store.page

    def refuse(*_):
        raise StoreRefused("disk I/O error")

    box.store.page = refuse
    assert box.outbox.head(box.entry) is None
    box.store.page = page
    assert box.outbox.upkeep.heal(None)
    assert box.bodies() == [b"1", b"2"] and box.entry.dropped == 0


def test_what_waits_in_memory_does_not_overtake_a_page_that_cannot_be_read(box):
    """Or the records of that page would be taken for delivered when the later one is."""
    box.append(b"1", b"2")
    box.store.full = True
    box.append(b"3")
    page = box.store.page

    def refuse(*_):
        raise StoreRefused("disk I/O error")

    box.store.page = refuse
    assert box.outbox.head(box.entry) is None
    box.store.page = page
    box.store.full = False
    assert box.bodies() == [b"1", b"2", b"3"] and box.entry.dropped == 0


@pytest.mark.parametrize("is_full", [False, True])
def test_a_page_of_damaged_rows_is_counted_once_and_hides_nothing(box, is_full):
    """Also where the disk is full, so that they cannot be deleted."""
    box.append(*[b"%02d" % number for number in range(1, 31)])
    sql(box.store, "UPDATE records SET body = 'zzz' WHERE id & 255 < 11 OR id & 255 IN (13, 14)")
    box.store.full = is_full
    box.append(b"31")
    box.outbox.update(box.entry, hung=1)
    assert box.bodies() == [b"11", b"12"] + [b"%02d" % number for number in range(15, 32)]
    assert (box.entry.dropped, box.entry.waiting) == (12, 0)


def is_tmpfs_to_be_had():
    return sys.platform.startswith("linux") and os.getuid() == 0


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if not is_tmpfs_to_be_had() or os.system(
        "mount -t tmpfs -o size=8m tmpfs %s 2>/dev/null" % folder
    ):
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    assert os.system("umount -l %s" % folder) == 0


def test_a_disk_that_is_really_full(small_disk):
    """Settled records stay settled, and all others arrive once there is space again."""
    box = Box(small_disk, kind=Store)
    for number in range(400):
        box.append(b"%04d" % number + b"x" * 500)
    box.store.checkpoint()
    box.outbox.upkeep.measure()
    with open(str(small_disk / "other"), "wb", 0) as other:
        try:
            while True:
                other.write(b"x" * 4096)
        except (IOError, OSError):
            pass
    for number in range(400, 3000):
        box.append(b"%04d" % number + b"x" * 500)
    assert box.outbox.refusal is not None and box.outbox.in_memory > 1500
    sent = []
    for _ in range(300):
        record = box.outbox.head(box.entry)
        sent.append(record.body[:4])
        box.outbox.settle(box.entry, record)
    assert not box.outbox.upkeep.heal(None)
    settled = box.store.page(box.number, 0)[0][0].number - 1
    assert settled > 15, "the reserve has room for settles"
    os.remove(str(small_disk / "other"))
    box.outbox.upkeep.heal(None)
    sent.extend(record.body[:4] for record in box.drain())
    assert sent == [b"%04d" % number for number in range(3000)]
    assert box.outbox.upkeep.heal(None), box.outbox.refusal
    assert box.entry.dropped == 0
    box.close()


def spool_at(tmp_path, warnings):
    return Spool(str(tmp_path), WHERE, False, warnings)


def test_a_file_found_damaged_while_it_is_used_is_replaced_and_what_is_lost_is_counted(
    box, tmp_path
):
    box.append(*[b"%03d" % number for number in range(20)])
    sql(box.store, "UPDATE records SET body = 'zzz' WHERE id & 255 IN (5, 6)")
    page = box.store.page

    def damaged(*arguments):
        raise StoreDamaged("malformed")

    box.store.page = damaged
    assert box.outbox.head(box.entry) is None
    box.append(b"020")
    box.store.page = page
    assert box.outbox.upkeep.heal(spool_at(tmp_path, box.warnings).replacement)
    assert box.bodies() == [b"%03d" % number for number in range(21) if number not in (4, 5)]
    assert box.entry.dropped == 2 and box.entry.waiting == 0
    assert [name for name in os.listdir(str(tmp_path)) if ".corrupt-" in name]


def test_a_file_found_damaged_while_it_heals_is_replaced(box, tmp_path):
    """It may be noticed by a write alone; records in memory would wait for ever."""
    box.append(b"1")
    box.store.full = True
    box.append(b"2")
    box.store.full = False

    def damaged(*arguments):
        raise StoreDamaged("malformed")

    box.store.settle_all = damaged
    assert box.outbox.upkeep.heal(spool_at(tmp_path, box.warnings).replacement)
    assert box.outbox.path != box.path and box.bodies() == [b"1", b"2"]


def test_an_outbox_closed_when_the_disk_has_room_again_loses_nothing(box):
    box.store.full = True
    for number in range(3000):
        box.append(b"%d" % number)
    box.store.full = False
    box.outbox.close()
    heir = Box(os.path.dirname(box.path))
    assert len(heir.bodies()) == 3000 and heir.entry.dropped == 0
    heir.close()


def test_what_is_noted_while_the_disk_is_full_is_written_when_it_heals(box):
    box.store.full = True
    box.append(b"1")
    box.outbox.note(process="4711")
    box.store.full = False
    assert box.outbox.upkeep.heal(None)
    assert box.outbox.notes()["process"] == "4711"


def test_damaged_rows_are_counted_as_dropped_and_the_others_arrive(box):
    box.append(b"1", b"2", b"3")
    sql(box.store, "UPDATE records SET captured = captured + (1 << 33) WHERE id & 255 = 2")
    assert box.bodies() == [b"1", b"3"]
    assert (box.entry.dropped, box.entry.waiting) == (1, 0)


def test_missing_rows_are_counted(box):
    box.append(b"1", b"2", b"3", b"4")
    sql(box.store, "DELETE FROM records WHERE id & 255 IN (2, 4)")
    assert box.bodies() == [b"1", b"3"]
    assert (box.entry.dropped, box.entry.waiting) == (2, 0)


@pytest.mark.parametrize("ending", ["", "-wal"])
@pytest.mark.skipif(os.name != "posix", reason="open files cannot be deleted")
def test_a_file_deleted_under_us_is_continued_in_a_new_one(box, tmp_path, ending):
    spool = spool_at(tmp_path, box.warnings)
    box.append(b"1", b"2")
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    box.outbox.upkeep.rescue(spool.replacement)
    assert box.outbox.path == box.path
    os.remove(box.path + ending)
    box.append(b"3")
    box.outbox.upkeep.sync()
    box.outbox.upkeep.rescue(spool.replacement)
    assert box.outbox.path != box.path and "deleted" in box.warnings.topics
    box.append(b"4")
    (tmp_path / "copy").mkdir()
    moved, box.path = box.path, box.outbox.path
    copy = box.copy_as_killed(tmp_path / "copy")
    store = Store(copy)
    assert [record.body for record in store.page(1, 0)[0]] == [b"2", b"3", b"4"]
    store.close()
    assert box.bodies() == [b"2", b"3", b"4"]
    assert not os.path.exists(moved)


@pytest.mark.skipif(os.name != "posix", reason="open files cannot be deleted")
def test_a_folder_deleted_under_us_is_made_again(tmp_path):
    import shutil

    folder = tmp_path / "spool"
    folder.mkdir()
    box = Box(folder)
    box.append(b"1")
    shutil.rmtree(str(folder))
    box.outbox.upkeep.sync()
    box.outbox.upkeep.rescue(spool_at(folder, box.warnings).replacement)
    assert os.path.exists(box.outbox.path)
    assert box.bodies() == [b"1"]
    box.close()


def test_once_the_disk_is_known_to_be_slow_log_calls_do_not_wait_for_it(box, monkeypatch):
    """Nor for the lock, while another thread is in the middle of a write that does not end."""
    box.store.delay = 0.5
    box.append(b"0")
    assert box.outbox.disk.is_slow and "slow" in box.warnings.topics
    box.append(b"1")
    assert box.outbox.in_memory == 1
    insert, writes, may_end = box.store.insert, threading.Event(), threading.Event()

    def insert_for_ever(row):
        writes.set()
        may_end.wait(PATIENCE)
        insert(row)

    monkeypatch.setattr(box.store, "insert", insert_for_ever)
    taking = threading.Thread(target=box.outbox.take_in)
    taking.start()
    waits = []
    try:
        assert writes.wait(PATIENCE)
        monkeypatch.setattr(intake.locks, "acquire_within", lambda *wait: waits.append(wait))
        box.append(*[b"%d" % number for number in range(2, 50)])
        assert waits == [] and box.entry.waiting == 50
    finally:
        may_end.set()
        taking.join(PATIENCE)
    box.outbox.take_in()
    assert box.outbox.in_memory == 0
    assert box.bodies() == [b"%d" % number for number in range(50)]


def counted_writes(box, monkeypatch, after_each=lambda: None):
    """Return a list that grows by the names of the store's methods that write records."""
    writes = []

    def counted(name):
        write = getattr(box.store, name)

        def count(*arguments):
            write(*arguments)
            writes.append(name)
            after_each()

        return count

    for name in ("insert", "insert_all"):
        monkeypatch.setattr(box.store, name, counted(name))
    return writes


def test_a_slow_disk_takes_many_records_at_once(box, monkeypatch):
    box.outbox.disk.is_slow = True
    for number in range(100):
        box.append(b"%d" % number)
    writes = counted_writes(box, monkeypatch)
    box.outbox.take_in()
    assert box.outbox.in_memory == 0 and writes == ["insert_all"]


def test_a_flood_on_a_disk_taken_for_slow_is_written_and_not_dropped(box):
    """One slow write costs no record: log calls write a little themselves when memory fills."""
    box.outbox.disk.is_slow = True
    body = b'"' + b"x" * 1022 + b'"'
    flood = 3 * intake.MEMORY_BYTES // len(body)
    for _ in range(flood):
        box.outbox.append(box.entry, kinds.EVENT, body)
        box.outbox.disk.is_slow = True
    entry = box.entry
    assert (entry.dropped, entry.waiting) == (0, flood)
    assert box.outbox.in_memory * len(body) < intake.MEMORY_BYTES


def test_a_tight_loop_of_log_calls_does_not_keep_the_holder_busy_for_ever(box, monkeypatch):
    """Who holds the lock takes in what is there, and not what is being added meanwhile."""

    again = [b"{}"] * 1000

    def log_again():
        if again:
            box.append(again.pop())

    box.outbox.disk.is_slow = True
    box.append(b"{}")
    writes = counted_writes(box, monkeypatch, after_each=log_again)
    box.outbox.update(box.entry, hung=0)
    assert 0 < len(writes) < 10
    assert box.outbox.in_memory == 1
    del again[:]


def test_a_disk_that_was_slow_is_trusted_again_after_a_calm_while(box):
    box.store.delay = 0.25
    box.append(b"1")
    box.store.delay = 0.0
    box.append(b"2")
    assert box.outbox.in_memory == 1
    box.outbox.take_in()
    box.append(b"3")
    assert box.outbox.in_memory == 1
    DISK_CLOCK.now += disk.CALM_SECONDS + 1
    box.outbox.take_in()
    box.append(b"4")
    assert box.outbox.in_memory == 0
    assert box.bodies() == [b"1", b"2", b"3", b"4"]
