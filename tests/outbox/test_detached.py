"""Descriptors closed under an outbox: its records move on, the application's files stay whole."""

from __future__ import absolute_import, division

import os
import subprocess
import sys
import textwrap

import pytest
from tools.outboxes import DISK_CLOCK, NAME, WHERE, Box
from tools.process import environment
from tools.robbery import Robbery

from datacat.outbox import disk
from datacat.outbox.ownership import OWNER
from datacat.outbox.spool import Spool
from datacat.outbox.store import Store
from datacat.records import kinds

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/dev/fd"), reason="the system does not list descriptors"
)

BODIES = [b"%03d" % number for number in range(20)]


@pytest.fixture
def robbery(tmp_path):
    made = Robbery(tmp_path)
    yield made
    made.close()


def spool_of(box):
    return Spool(os.path.dirname(box.path), WHERE, False, box.warnings)


def heal(box):
    return box.outbox.upkeep.heal(spool_of(box).replacement)


def outboxes(folder):
    return sorted(name for name in os.listdir(str(folder)) if name.endswith(".outbox"))


USES = {
    "append": lambda box: box.append(b"new"),
    "settle": lambda box: box.outbox.settle(box.entry, box.first),
    "update": lambda box: box.outbox.update(box.entry, hung=1),
    "head": lambda box: box.outbox.heads(),
    "sync": lambda box: box.outbox.upkeep.sync() or box.outbox.upkeep.rescue(None),
    "checkpoint": lambda box: box.outbox.disk.attempt(box.store.checkpoint),
    "measure": lambda box: box.outbox.upkeep.measure(),
    "letters": lambda box: box.outbox.dead_letters(),
    "goodbye": lambda box: box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}"),
}


@pytest.mark.parametrize("reused", [True, False], ids=["numbers reused", "closed"])
@pytest.mark.parametrize("endings", [("", "-wal"), ("",), ("-wal",)], ids=["both", "file", "log"])
@pytest.mark.parametrize("use", sorted(USES))
def test_each_use_notices_it_and_nothing_is_lost_or_spoilt(
    tmp_path, robbery, use, endings, reused
):
    box = Box(tmp_path, kind=Store)
    box.append(*BODIES)
    box.first = box.outbox.head(box.entry)
    robbery.rob(box.path, endings, reused)
    USES[use](box)
    expected = list(BODIES)
    if use == "append":
        expected.append(b"new")
    elif use == "settle":
        del expected[0]
    elif use == "goodbye":
        expected.append(b"{}")
    box.append(b"later")
    assert box.outbox.refusal is not None
    assert heal(box) and box.outbox.refusal is None
    assert box.outbox.path != box.path and len(outboxes(tmp_path)) == 1
    assert box.warnings.topics == ["detached"] and "descriptors" in box.warnings.told[0][1]
    assert box.bodies() == expected + [b"later"]
    assert (box.entry.dropped, box.entry.waiting) == (0, 0)
    box.close()
    robbery.check()


@pytest.mark.parametrize("reused", [True, False], ids=["numbers reused", "closed"])
def test_a_close_leaves_the_applications_file_alone_and_the_next_run_delivers(
    tmp_path, robbery, reused
):
    box = Box(tmp_path, kind=Store)
    box.append(*BODIES)
    robbery.rob(box.path, reused=reused)
    box.outbox.close()
    robbery.check()
    (tmp_path / "copy").mkdir()
    box.copy_as_killed(tmp_path / "copy")
    heir = Box(tmp_path / "copy")
    assert heir.bodies() == BODIES
    heir.close()


def test_within_ten_milliseconds_an_append_does_not_look(tmp_path, monkeypatch):
    """What the look costs is not paid by each call."""
    box = Box(tmp_path, kind=Store)
    looks = []
    check = box.store.check
    box.store.check = lambda: looks.append(1) or check()
    for _ in range(10):
        box.append(b"1", b"2", b"3")
        DISK_CLOCK.now += disk.CHECK_SECONDS * 0.4
    assert 3 <= len(looks) <= 5
    box.close()


def test_what_is_written_into_another_file_within_ten_milliseconds_is_counted(tmp_path, robbery):
    box = Box(tmp_path, kind=Store)
    box.append(*BODIES)
    robbery.rob(box.path)
    DISK_CLOCK.now -= disk.CHECK_SECONDS * 2
    box.append(b"astray")
    DISK_CLOCK.now += disk.CHECK_SECONDS * 2
    box.append(b"new")
    assert heal(box) and box.bodies() == BODIES + [b"new"]
    assert (box.entry.dropped, box.entry.waiting) == (1, 0)
    box.close()


def test_a_clock_that_was_set_back_does_not_stop_the_looks(tmp_path, robbery):
    box = Box(tmp_path, kind=Store)
    box.append(*BODIES)
    DISK_CLOCK.now -= 3600
    box.outbox.upkeep.rescue(None)
    robbery.rob(box.path)
    box.append(b"new")
    assert heal(box) and box.bodies() == BODIES + [b"new"]
    box.close()
    robbery.check()


def test_an_outbox_that_another_process_has_taken_meanwhile_is_left_to_it(tmp_path, robbery):
    box = Box(tmp_path, kind=Store)
    box.append(*BODIES)
    robbery.rob(box.path)
    box.append(b"new")
    # While there is a companion, nobody takes it.
    os.remove(box.path + OWNER)
    program = textwrap.dedent("""
        import sys
        from tools.outboxes import Box, WHERE
        box = Box(sys.argv[1])
        print("\\n".join(body.decode("ascii") for body in box.bodies()))
        sys.stdout.flush()
        sys.stdin.readline()
    """)
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        theirs = [other.stdout.readline().strip() for _ in BODIES]
        assert theirs == BODIES
        assert heal(box) and box.outbox.path != box.path
        assert NAME in outboxes(tmp_path)
        assert box.bodies() == [b"new"] and box.entry.dropped == len(BODIES)
    finally:
        other.kill()
        other.wait()
        other.stdin.close()
        other.stdout.close()
    box.close()
    robbery.check()


def test_a_reader_of_the_folder_that_closes_its_own_descriptor_is_not_taken_for_a_robber(tmp_path):
    """As a backup does, which opens a file just while it is made."""
    box = Box(tmp_path, kind=Store)
    box.close()
    with open(box.path, "rb"):
        again = Box(tmp_path, kind=Store)
    again.append(*BODIES)
    DISK_CLOCK.now += 1
    again.append(b"new")
    assert again.outbox.refusal is None
    again.close()
