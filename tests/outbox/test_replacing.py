"""Replacing a damaged outbox: whatever comes in between, each record counts in one file."""

from __future__ import absolute_import, division

import errno
import os
import shutil
import signal
import sys
import textwrap

import pytest
from tools.interruption import each_step
from tools.outboxes import CAP, NAME, WHERE, Box, Warnings
from tools.process import ChildProcess, environment
from tools.waiting import PATIENCE

from datacat.outbox import replacing
from datacat.outbox.outbox import Outbox
from datacat.outbox.refusals import StoreDamaged
from datacat.outbox.spool import Spool

BODIES = [b"%03d" % number for number in range(20)]
FEW = BODIES[:3]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(replacing.time, "sleep", lambda seconds: None)


@pytest.fixture(params=["open files can be renamed", "only closed files can be renamed"])
def renaming(request, monkeypatch):
    """The system's renaming; `refusals` is how often it still fails for an outbox."""
    made = Renaming()
    if request.param.startswith("only"):
        monkeypatch.setattr(replacing, "CAN_UNLINK_OPEN_FILES", False)
        made.store = None
    monkeypatch.setattr(replacing.os, "rename", made.rename)
    return made


class Renaming(object):
    def __init__(self):
        self.refusals = 0
        self.refused = 0
        self._rename = os.rename

    def rename(self, source, target):
        if self.refusals and source.endswith(".outbox"):
            self.refusals -= 1
            self.refused += 1
            raise OSError(errno.EACCES, "The process cannot access the file")
        self._rename(source, target)


def damage(box):
    """Have the next read find the box's file malformed."""

    def damaged(*arguments):
        raise StoreDamaged("malformed")

    page, box.store.page = box.store.page, damaged
    assert box.outbox.head(box.entry) is None
    box.store.page = page


def spool_of(box):
    return Spool(os.path.dirname(box.path), WHERE, False, box.warnings)


def files(folder):
    return sorted(name for name in os.listdir(str(folder)) if name.endswith(".outbox"))


def bodies_in(folder):
    """Return the bodies of all records in all outboxes of a folder that are free, and warnings."""
    found, warnings = [], Warnings()
    spool = Spool(str(folder), WHERE, False, warnings)
    for path in spool.candidates([]):
        store = spool.open_if_free(path)
        if store is None:
            continue
        outbox = Outbox(store, CAP, warnings)
        for entry in outbox.entries():
            while outbox.head(entry) is not None:
                found.append(outbox.head(entry).body)
                outbox.settle(entry, outbox.head(entry))
        outbox.close()
    return found


def test_a_renaming_that_is_refused_for_a_moment_is_tried_again(box, renaming):
    box.append(*BODIES)
    damage(box)
    renaming.refusals = 2
    assert box.outbox.upkeep.heal(spool_of(box).replacement)
    assert renaming.refused == 2 and box.bodies() == BODIES


def test_while_the_renaming_is_refused_nothing_is_copied_or_lost(box, tmp_path, renaming):
    """As while a scanner holds the file."""
    box.append(*BODIES)
    damage(box)
    renaming.refusals = 1000
    for number in range(3):
        box.append(b"new %d" % number)
        assert not box.outbox.upkeep.heal(spool_of(box).replacement)
        assert files(tmp_path) == [NAME]
    told = [words for topic, words in box.warnings.told if topic == "replacing"]
    assert told and "cannot rename" in told[0] and "damaged" not in box.warnings.topics
    renaming.refusals = 0
    assert box.outbox.upkeep.heal(spool_of(box).replacement)
    assert len(files(tmp_path)) == 1 and box.outbox.path != box.path
    assert box.bodies() == BODIES + [b"new 0", b"new 1", b"new 2"]
    assert (box.entry.dropped, box.entry.waiting) == (0, 0)
    (words,) = [words for topic, words in box.warnings.told if topic == "damaged"]
    assert "20 records" in words and box.outbox.path in words
    assert words.split(" kept as ")[1] in [str(path) for path in tmp_path.iterdir()]


def test_a_damaged_outbox_left_behind_is_delivered_once_when_it_can_be_renamed(
    box, tmp_path, renaming
):
    box.append(*BODIES)
    box.store.checkpoint()
    box.outbox.close()
    with open(box.path, "r+b") as stream:
        stream.write(b"CREATE TABLE nothing of the kind")
    with open(box.path, "r+b") as stream:
        damaged = stream.read()
    renaming.refusals = 1000
    for _ in range(3):
        assert bodies_in(tmp_path) == []
        assert files(tmp_path) == [NAME]
    renaming.refusals = 0
    bodies_in(tmp_path)
    assert files(tmp_path) == []
    (kept,) = [path for path in tmp_path.iterdir() if ".corrupt-" in path.name]
    assert kept.read_bytes() == damaged


def test_a_replacement_interrupted_anywhere_is_repeated_without_loss_or_copy(
    quick_folder, renaming
):
    """Ctrl-C that the application outlives, by turns at each third step."""
    made = []
    modules = ("connection", "disk", "healing", "replacing", "spool", "store", "upkeep")

    def heal():
        box = made[-1]
        box.outbox.upkeep.heal(spool_of(box).replacement)

    def between():
        folder = os.path.join(quick_folder, str(len(made)))
        os.mkdir(folder)
        box = Box(folder)
        made.append(box)
        box.append(*FEW)
        damage(box)

        def check():
            assert box.outbox.upkeep.heal(spool_of(box).replacement)
            assert len(files(folder)) == 1 and box.outbox.path != box.path
            assert len(box.warnings.topics) == len(set(box.warnings.topics))
            box.outbox.close()
            assert bodies_in(folder) == FEW
            assert box.entry.dropped == 0
            shutil.rmtree(folder)

        return check

    assert each_step(heal, between, modules=modules, every=3) > 60


KILLED = textwrap.dedent("""
    import os, signal, sys
    from datacat.outbox import disk, replacing
    from datacat.outbox.refusals import StoreDamaged
    from datacat.outbox.spool import Spool
    from tools.outboxes import WHERE, Box, Warnings

    folder, is_after = sys.argv[1], sys.argv[2] == "after"
    disk.SLOW_SECONDS = 60.0  # however busy this machine is
    box = Box(folder)
    box.append(*[b"%03d" % number for number in range(20)])
    box.outbox.disk.refused(StoreDamaged("malformed"))
    rename = os.rename

    def killed(source, target):
        if is_after:
            rename(source, target)
        os.kill(os.getpid(), signal.SIGKILL)

    replacing.os.rename = killed
    box.outbox.upkeep.heal(Spool(folder, WHERE, False, Warnings()).replacement)
""")


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_the_renaming_leaves_each_record_once(tmp_path, when):
    child = ChildProcess([sys.executable, "-c", KILLED, str(tmp_path), when], environment())
    try:
        assert child.wait(PATIENCE) == -signal.SIGKILL, child.output
    finally:
        child.close()
    assert len(files(tmp_path)) == (1 if when == "after" else 2)
    assert bodies_in(tmp_path) == BODIES
    assert bodies_in(tmp_path) == [] and len(files(tmp_path)) == 1
