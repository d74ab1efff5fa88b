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

LAST_SECOND = 1.0

LIFE = u"""
from datacat.outbox import upkeep
from datacat._compat import monotonic
durability, records, pause, checkpoint_bytes = sys.argv[3:]
upkeep.CHECKPOINT_BYTES = int(checkpoint_bytes)

def measure_lateness():
    late = os.open("late", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        began = monotonic()
        time.sleep(0.02)
        ended = monotonic()
        os.write(late, ("%r %r\\n" % (ended, ended - began - 0.02)).encode("ascii"))

session = open_session(connect_wait=0, durability=durability)
measuring = threading.Thread(target=measure_lateness)
measuring.daemon = True
measuring.start()
# Waking the syncing thread early must not delay its sync.
session.start_heartbeat_monitor(timeout=60, check_interval=0.45)
recorder = recorder_of(session)
aside = []
for number in range(int(records)):
    recorder.log_event("step", {"number": number, "text": "x" * 1000})
    if session.stats()["in_memory"]:
        aside.append(number)
    time.sleep(float(pause))
say("logged", aside=aside, **session.stats())
os.kill(os.getpid(), signal.SIGKILL)
"""


class Life(object):
    """What is known of an application whose disk was recorded, with strace's times."""

    def __init__(self, folder, accepted, durability, aside):
        to_wall = time.time() - monotonic()
        self._durability = durability
        self._aside = set(aside)
        self.calls = list(read_accepted([accepted]).values())
        self._places = dict((call.mark, place) for place, call in enumerate(self.calls))
        for call in self.calls:
            call.ended = None if call.ended is None else call.ended + to_wall
        with open(os.path.join(str(folder), "late")) as stream:
            pairs = [line.split() for line in stream.read().split("\n")[:-1]]
        self._late = [(float(when) + to_wall, float(late)) for when, late in pairs]

    def lateness(self, until):
        """Return how many seconds late the machine woke the application from its sleeps."""
        return sum(late for when, late in self._late if until - 2 * LAST_SECOND < when <= until)

    def check(self, left, cut_at):
        """Compare what is left with what was accepted; return the marks of lost records."""
        places = [self._places[event["data"]["mark"]] for event in left]
        first = places[0] if places else 0
        after = first + len(places)
        assert places == list(range(first, after)), "what is left has a hole: %r" % places
        for place, event in zip(places, left):
            assert event == self.calls[place].fields
        safe = cut_at
        if self._durability == "process":
            safe -= LAST_SECOND + self.lateness(cut_at)
        for call in self.calls[after:]:
            assert self._may_be_lost(
                call, safe
            ), "%r is lost, though its call returned %.3f s before the cut" % (
                call,
                cut_at - call.ended,
            )
        return set(call.mark for call in self.calls[after:])

    def _may_be_lost(self, call, safe):
        return (
            call.outcome != RETURNED
            or call.ended >= safe
            # It found the outbox busy: stats() shows it, and the README says so.
            or call.fields["data"]["number"] in self._aside
        )


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
        app.wait(120 + records * (pause + 0.05), expect=-signal.SIGKILL)
    (logged,) = said(app, "logged")
    assert len(logged["aside"]) <= records // 20, "too many calls found the outbox busy"
    return Life(folder, app.accepted, durability, logged["aside"]), app.accepted


def check_left(files, disk, folder, life, cut_at):
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
    return life.check(left.events, cut_at)


def scope_in(files):
    names = [os.path.basename(path) for path in files if path.endswith(".outbox")]
    return names[0].split("-")[0] if names else SCOPE


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_power_cut_costs_the_last_second_at_most_and_nothing_with_durability_power(
    own_collector, v1_proxy, tmp_path, quick_folder, scaled, durability
):
    """Power: after a cut at any sync the outbox is intact, and lacks the last second at most."""
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
        if durability == "power" and cuts % every:
            continue
        check_left(disk.kept(), root, quick_folder, life, cut_at)
        check_left(disk.torn(chance), root, quick_folder, life, cut_at)
    kept = disk.kept()
    lost = check_left(kept, root, quick_folder, life, cut_at)
    check_as_recorded(disk, root)
    check_struck(disk, durability, cuts, len(life.calls))
    check_delivery(kept, root, own_collector, v1_proxy, accepted, lost)


def check_as_recorded(disk, root):
    """Check that without a cut the recording gives the application's real files."""
    for path, content in disk.whole().items():
        if not path.endswith("-reserve"):
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
        await_delivery(collector, [accepted], 120, allow={"lost": len(lost)})
        tell(folder, "finish")
        run.wait(20)
    report = check_invariants([accepted], collector.sessions(), {"lost": len(lost)}, OWN)
    assert set(report.calls) - set(report.arrived) <= lost
