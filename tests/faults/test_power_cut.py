"""A power cut (17), simulated: writes that were not synced are dropped.

strace records every write and sync of the application; for each sync the disk is rebuilt as a cut
at that moment would leave it.  A disk that lies about its syncs is not simulated.
"""

from __future__ import absolute_import, division

import os
import random
import shutil
import signal
import time

import pytest
from tools.faults import Delay, is_write
from tools.host import NEXT_RUN, OWN, application, await_delivery, await_word, said, tell
from tools.invariants import RETURNED, check_invariants, read_accepted
from tools.left_behind import LeftBehind, lay_out, what_sqlite_finds
from tools.outboxes import SCOPE
from tools.recorded_disk import RecordedDisk, recording

from datacat._compat import monotonic

LIFE = u"""
from datacat.outbox import upkeep
durability, records, pause, checkpoint_bytes = sys.argv[3:]
upkeep.CHECKPOINT_BYTES = int(checkpoint_bytes)

session = open_session(connect_wait=0, durability=durability)
# Waking the syncing thread early must not delay its sync.
session.start_heartbeat_monitor(timeout=60, check_interval=0.45)
recorder = recorder_of(session)
syncs, sync = [], upkeep.Upkeep.sync

def count_and_sync(self):
    syncs.append(1)
    sync(self)

upkeep.Upkeep.sync = count_and_sync
number = 0
while number < int(records) or durability == "process" and len(syncs) < 6:
    number += 1
    recorder.log_event("step", {"number": number, "text": "x" * 1000})
    assert not session.stats()["in_memory"]
    time.sleep(float(pause))
say("logged", **session.stats())
os.kill(os.getpid(), signal.SIGKILL)
"""


class Life(object):
    """What is known of an application whose disk was recorded, with strace's times."""

    def __init__(self, accepted):
        to_wall = time.time() - monotonic()
        self.calls = list(read_accepted([accepted]).values())
        self._places = dict((call.mark, place) for place, call in enumerate(self.calls))
        for call in self.calls:
            call.ended = None if call.ended is None else call.ended + to_wall

    def check(self, left, safe_at):
        """Compare what is left with what was accepted; return the marks of lost records.

        safe_at: what was accepted until then may not be lost.
        """
        places = [self._places[event["data"]["mark"]] for event in left]
        first = places[0] if places else 0
        after = first + len(places)
        assert places == list(range(first, after)), "what is left has a hole: %r" % places
        for place, event in zip(places, left):
            assert event == self.calls[place].fields
        for call in self.calls[after:]:
            assert (
                call.outcome != RETURNED or call.ended >= safe_at
            ), "%r is lost, though its call returned %.3f s before it had to be safe" % (
                call,
                safe_at - call.ended,
            )
        return set(call.mark for call in self.calls[after:])


def live(folder, url, durability, records, pause, checkpoint_bytes):
    """Run an application on a recorded disk until its SIGKILL; return (Life, accepted file)."""
    (folder / "disk").mkdir()
    prefix = recording(str(folder / "trace"))
    with application(
        LIFE,
        folder,
        url,
        (durability, records, pause, checkpoint_bytes),
        prefix=prefix,
        env={"DATACAT_SPOOL_DIR": str(folder / "disk" / "spool")},
    ) as app:
        app.wait(600 + records * (pause + 0.05), expect=-signal.SIGKILL)
    assert said(app, "logged")
    return Life(app.accepted), app.accepted


def check_left(files, disk, folder, life, safe_at):
    """Start on a disk with these files and check what is delivered; return what was lost."""
    for_sqlite = lay_out(files, disk, os.path.join(folder, "for sqlite"))
    for path in files:
        if path.endswith(".outbox"):
            found = what_sqlite_finds(os.path.join(for_sqlite, os.path.relpath(path, str(disk))))
            assert found == "ok", found
    for_next_run = lay_out(files, disk, os.path.join(folder, "for the next run"))
    left = LeftBehind(os.path.join(for_next_run, "spool"), scope_in(files))
    assert not left.dropped and set(left.warnings) <= set(["slow"]), left.warnings
    shutil.rmtree(for_sqlite)
    shutil.rmtree(for_next_run)
    return life.check(left.events, safe_at)


def scope_in(files):
    names = [os.path.basename(path) for path in files if path.endswith(".outbox")]
    return names[0].split("-")[0] if names else SCOPE


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_power_cut_costs_what_is_not_synced_and_nothing_with_durability_power(
    own_collector, v1_proxy, tmp_path, quick_folder, scaled, durability
):
    """Power: after a cut at any sync the outbox is intact, and has what was accepted before the
    last one.  (That there is one a second is shown by tests/process/test_keeper.py, with a clock.)
    """
    # Slower than the application logs, so that something is always unsynced.
    v1_proxy.rule(Delay(answer=0.02), is_write)
    life, accepted = live(
        tmp_path, v1_proxy.url, durability, scaled(500, 2500), 0.006, scaled(3 << 20, 1 << 22)
    )
    root = tmp_path / "disk"
    disk, chance, every = RecordedDisk(root), random.Random(17), scaled(30, 20)
    cuts = 0
    for cut_at in disk.cuts(str(tmp_path / "trace")):
        cuts += 1
        safe_at = cut_at if durability == "power" else disk.safe_at
        if durability == "power" and cuts % every:
            continue
        check_left(disk.kept(), root, quick_folder, life, safe_at)
        check_left(disk.torn(chance), root, quick_folder, life, safe_at)
    kept = disk.kept()
    lost = check_left(kept, root, quick_folder, life, safe_at)
    check_as_recorded(disk, root)
    check_struck(disk, durability, cuts, len(life.calls))
    check_delivery(kept, root, own_collector, v1_proxy, accepted, lost)


def check_as_recorded(disk, root):
    """Check that without a cut the recording gives the application's real files."""
    for path, content in disk.whole().items():
        # What the companion says is of no use after a power cut, and what was learned of the
        # server is not needed.
        if not path.endswith(("-reserve", "-owner", ".server")):
            with open(path, "rb") as stream:
                assert stream.read() == content, path


def check_struck(disk, durability, cuts, calls):
    """Check that there were enough syncs, and checkpoints in between."""
    synced = dict((path[-len("outbox-wal") :], count) for path, count in disk.synced.items())
    assert cuts == sum(synced.values()) + 1
    assert synced["outbox-wal"] >= (calls if durability == "power" else 4), synced
    # Two are for creating the file, each of the others for a checkpoint.
    assert sum(count for path, count in disk.synced.items() if path.endswith(".outbox")) > 2


def check_delivery(files, root, collector, proxy, accepted, lost):
    """Check that the next run delivers what the cut left, and sends nothing twice."""
    proxy.clear()
    folder = root.parent / "after the cut"
    spool = lay_out(files, root, folder)
    with application(
        NEXT_RUN, folder, proxy.url, env={"DATACAT_SPOOL_DIR": os.path.join(spool, "spool")}
    ) as run:
        await_word(run, "up")
        await_delivery(collector, [accepted], 300, allow={"lost": len(lost)})
        tell(folder, "finish")
        run.wait()
    report = check_invariants([accepted], collector.sessions(), {"lost": len(lost)}, OWN)
    assert set(report.calls) - set(report.arrived) <= lost
