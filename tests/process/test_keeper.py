"""The keeper's promises: synced within a second, healed, losses reported, hangs seen."""

from __future__ import absolute_import, division

import errno
import json
import os
import time

import pytest
from tools.outboxes import WHERE, Box, Warnings
from tools.privileges import bound_by_permissions

from datacat import settings
from datacat._compat import monotonic
from datacat.outbox import bounds, quarantine
from datacat.outbox.no_store import NoStore
from datacat.outbox.outbox import Outbox
from datacat.outbox.refusals import SpoolUnusable
from datacat.outbox.spool import Spool
from datacat.process.holding import Holding
from datacat.process.keeper import SYNC_SECONDS, Keeper
from datacat.process.running_totals import RunningTotals
from datacat.process.watchdog import Watchdog
from datacat.records import build, flood, kinds


class Watched(object):
    """What the keeper needs of a Membership."""

    is_watched = True
    abandoned_at = None
    monitor = None

    def __init__(self, box, dog):
        self.place = self
        self.entry = box.entry
        self.append = box.outbox.append
        self.watchdog = dog
        self.monitors = []
        self.redact = None
        self.totals = RunningTotals(5.0)
        self.holding = Holding(settings.resolve(sample={"moved": 0}))
        self.process = os.getpid()
        self.sleepers = None

    def hold_back(self):
        self.holding.holds_back(flood.key_of(kinds.EVENT, {"name": "moved"}))


class Kept(object):
    """A keeper of an outbox, on the test's clock."""

    def __init__(self, folder, **options):
        self.box = Box(folder, **options)
        self.outbox = self.box.outbox
        self.spool = Spool(str(folder), WHERE, False, self.box.warnings)
        self.members = {}
        self.nudges = 0
        self.keeper = Keeper(self.outbox, self.spool, self.members, self.nudge)
        self.now = float(int(monotonic()))
        self.syncs = 0
        sync = self.outbox.upkeep.sync

        def counted():
            self.syncs += 1
            sync()

        self.outbox.upkeep.sync = counted

    def nudge(self):
        self.nudges += 1

    def watch(self, dog):
        """Have the keeper check a watchdog for the box's session; return its membership."""
        self.members["local-1"] = Watched(self.box, dog)
        return self.members["local-1"]

    def step(self, seconds=0.0):
        self.now += seconds
        return self.keeper.step(self.now)

    def events(self):
        return [json.loads(record.body.decode("ascii")) for record in self.box.drain()]


@pytest.fixture
def make_kept(tmp_path):
    made = []

    def make(**options):
        made.append(Kept(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.box.close()


@pytest.fixture
def kept(make_kept):
    return make_kept()


def test_what_is_appended_is_synced_within_a_second(kept):
    kept.box.append(b"1")
    assert kept.keeper.is_alert
    kept.step()
    assert kept.syncs == 1 and not kept.outbox.unsynced
    kept.box.append(b"2")
    assert kept.step(0.1) <= SYNC_SECONDS
    assert kept.syncs == 1, "at most once a second"
    kept.step(SYNC_SECONDS)
    assert kept.syncs == 2 and not kept.keeper.is_alert


def test_being_woken_early_delays_no_sync(kept):
    kept.box.append(b"1")
    kept.step()
    kept.box.append(b"2")
    assert kept.step(0.75 * SYNC_SECONDS) <= 0.26 * SYNC_SECONDS


def test_with_nothing_to_keep_it_sleeps_until_it_is_woken(kept):
    kept.step()
    assert kept.step(5) is None and kept.step(500) is None
    assert kept.syncs == 1


def test_a_refused_disk_is_tried_again_each_second_until_it_takes_all(kept):
    kept.step()
    kept.box.store.full = True
    kept.box.append(b"1")
    for _ in range(3):
        assert kept.step(SYNC_SECONDS) == pytest.approx(SYNC_SECONDS)
    assert kept.outbox.in_memory == 1
    kept.box.store.full = False
    kept.step(SYNC_SECONDS)
    assert kept.outbox.in_memory == 0 and kept.outbox.refusal is None


def test_what_was_queued_on_a_slow_disk_is_written_at_the_keepers_next_step(kept):
    kept.step()
    kept.box.store.delay = 0.25
    kept.box.append(b"1", b"2", b"3")
    assert kept.outbox.in_memory == 2
    kept.step(0.1)
    assert kept.outbox.in_memory == 0 and kept.syncs == 1
    kept.box.store.delay = 0.0
    assert kept.box.bodies() == [b"1", b"2", b"3"]


@pytest.mark.skipif(os.name != "posix", reason="open files cannot be deleted")
def test_a_deleted_file_is_noticed_at_the_next_sync(kept):
    os.remove(kept.box.path)
    kept.box.append(b"1")
    kept.step()
    assert kept.outbox.path != kept.box.path and os.path.exists(kept.outbox.path)
    assert kept.box.bodies() == [b"1"]


def test_losses_are_reported_to_the_server_once(make_kept):
    kept = make_kept(max_bytes=200000)
    for _ in range(400):
        kept.outbox.append(kept.box.entry, kinds.METRIC, b'{"p":"%s"}' % (b"x" * 1000))
    kept.step()
    lost = kept.box.entry.dropped
    kept.step(SYNC_SECONDS)
    reports = [event for event in kept.events() if event.get("name")]
    assert lost > 0
    assert [(report["name"], report["data"]) for report in reports] == [
        ("datacat_records_dropped", {"count": lost})
    ]


def test_losses_are_reported_even_while_the_disk_refuses(kept):
    kept.step()
    kept.box.store.full = True
    for _ in range(180):
        kept.outbox.append(kept.box.entry, kinds.METRIC, b"x" * 100000)
    lost = kept.box.entry.dropped
    assert lost > 0
    kept.step(SYNC_SECONDS)
    youngest = kept.outbox.disk.memory.some(1000)[-1]
    assert youngest.body == build.encode(build.dropped(lost))


def test_the_disks_last_five_percent_are_noticed_within_a_second(kept, monkeypatch):
    kept.step()
    monkeypatch.setattr(bounds._compat, "disk_space", lambda folder: (1000, 49))
    kept.box.append(b"1")
    kept.step(SYNC_SECONDS)
    kept.box.append(b"2")
    assert kept.outbox.in_memory == 1


def test_a_drained_file_shrinks(kept):
    for _ in range(3000):
        kept.box.append(b"x" * 1000)
    kept.step()
    large = os.path.getsize(kept.box.path)
    kept.box.drain()
    kept.step(SYNC_SECONDS)
    assert large > 3000000 and os.path.getsize(kept.box.path) < 1000000


def test_a_hang_and_its_end_are_recorded_and_the_hang_noted_for_the_next_run(kept):
    dog = Watchdog(2.0, 0.5, kept.now)
    kept.watch(dog)
    for _ in range(10):
        assert 0.0 < kept.step(0.5) <= 0.5
    assert kept.box.entry.hung == 1 and kept.nudges == 1
    dog.beat(kept.now)
    kept.step(0.5)
    kept.step(0.5)
    assert kept.box.entry.hung == 0
    assert [event["name"] for event in kept.events()] == [
        "application_appears_hung",
        "application_recovered",
    ]


def test_what_is_held_back_is_told_after_a_minute_and_nothing_wakes_it_before_or_after(kept):
    member = kept.watch(None)
    kept.step()
    assert kept.step(500) is None
    member.hold_back()
    kept.now = monotonic()
    left = kept.step()
    assert 0 < left <= 60 and kept.step(left / 2) == pytest.approx(left / 2)
    assert kept.events() == []
    kept.step(left / 2 + 0.1)
    assert [event["name"] for event in kept.events()] == ["datacat_records_held_back"]
    kept.step(5)
    assert kept.step(500) is None


def test_a_session_no_longer_watched_cannot_hang(kept):
    kept.watch(Watchdog(2.0, 0.5, kept.now)).is_watched = False
    kept.step(60)
    assert kept.box.drain() == []


def test_a_closed_outbox_is_left_alone(kept):
    kept.box.append(b"1")
    kept.outbox.close()
    kept.step()
    assert kept.syncs == 0


@pytest.mark.parametrize("given", [0o000, 0o300, 0o600])
def test_a_folder_whose_mode_was_changed_gets_it_back_and_the_file_stays(kept, given, tmp_path):
    with bound_by_permissions():
        kept.step()
        os.chmod(str(tmp_path), given)
        kept.box.append(b"1")
        kept.step(SYNC_SECONDS)
        assert not kept.outbox.unsynced
        assert kept.outbox.path == kept.box.path and kept.outbox.refusal is None
        assert kept.box.warnings.topics == []
        os.chmod(str(tmp_path), 0o700)
    assert kept.box.bodies() == [b"1"]


def test_a_folder_that_cannot_get_its_mode_back_costs_no_more_than_syncs(
    kept, tmp_path, monkeypatch
):
    def refuse(path, mode):
        raise OSError(errno.EPERM, "Operation not permitted")

    with bound_by_permissions():
        kept.step()
        os.chmod(str(tmp_path), 0o000)
        with monkeypatch.context() as patched:
            patched.setattr(os, "chmod", refuse)
            for body in (b"1", b"2"):
                kept.box.append(body)
                kept.step(SYNC_SECONDS)
            assert kept.outbox.in_memory == 0 and kept.outbox.path == kept.box.path
            assert set(kept.box.warnings.topics) == {"sync"}
        kept.step(SYNC_SECONDS)
        assert not kept.outbox.unsynced
        os.chmod(str(tmp_path), 0o700)
    assert kept.box.bodies() == [b"1", b"2"]


def test_what_nobody_sends_is_told_and_old_damage_removed_without_a_server(kept, tmp_path):
    """A machine that is offline for months needs the bound most.  No other outbox is opened."""
    foreign = Spool(str(tmp_path), WHERE._replace(key="c" * 12), False, Warnings()).create()
    foreign.close()
    os.utime(foreign.path, (1, 1))
    waiting = kept.spool.create()
    waiting.close()
    for age in range(5):
        damaged = quarantine.kept_path(kept.box.path, time.time() - age)
        with open(damaged, "wb") as stream:
            stream.write(b"x")
    opened = []
    kept.spool.open_if_free = opened.append
    for _ in range(3):
        kept.step(SYNC_SECONDS)
    assert kept.box.warnings.topics == ["left alone"]
    assert sum(".corrupt-" in name for name in os.listdir(str(tmp_path))) == quarantine.KEPT
    assert opened == [] and os.path.exists(waiting.path)


def test_a_folder_that_cannot_be_used_is_not_looked_at(tmp_path):
    """It may be another user's, or a link to one."""
    looked = []

    class Refusing(object):
        def tidy(self):
            looked.append(True)

        def replacement(self, store):
            raise SpoolUnusable("still not")

    outbox = Outbox(NoStore("no folder"), 2**20, Warnings())
    keeper = Keeper(outbox, Refusing(), {}, lambda: None)
    keeper.step(monotonic())
    assert looked == []
    outbox.close()
