"""An outbox with a living owner is never opened by anybody else, whatever the owner reads."""

from __future__ import absolute_import, division

import errno
import gc
import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from tools.outboxes import NAME, WHERE, Box, Warnings
from tools.process import ChildProcess, environment
from tools.waiting import PATIENCE, wait_until

from datacat.outbox import connection, ownership
from datacat.outbox.ownership import (
    DEAD,
    LIVES,
    OURS,
    OWNER,
    UNKNOWN,
    Owner,
    Ownership,
    has_owner,
    judge,
)
from datacat.outbox.refusals import StoreHeld
from datacat.outbox.spool import Spool
from datacat.outbox.store import Store

pytestmark = pytest.mark.skipif(
    ownership.fcntl is None, reason="here, closing a file drops no lock on it"
)

ME = Owner("7", "100.5", "boot", "pid:[1]")


@pytest.mark.parametrize(
    "owner, start, expected",
    [
        (None, None, UNKNOWN),
        (ME._replace(process="8"), "100.5", LIVES),
        (ME._replace(process="8"), "100.0", LIVES),  # the system hides the stack
        (ME._replace(process="8"), "100.6", DEAD),  # exec: another program
        (ME._replace(process="8"), "101.5", DEAD),  # the number belongs to another one by now
        (ME._replace(process="8"), None, DEAD),
        (ME._replace(process="8"), "", UNKNOWN),  # no /proc
        (ME._replace(process="8", start=""), "100.5", UNKNOWN),
        (ME._replace(process="8", boot=""), "100.5", UNKNOWN),
        (ME._replace(process="8", boot="other"), None, UNKNOWN),  # another machine, or a restart
        (ME._replace(process="8", namespace="pid:[2]"), None, UNKNOWN),  # another container
        (ME, "100.5", OURS),
    ],
)
def test_a_companion_tells_of_its_owner_what_can_be_known(owner, start, expected):
    assert judge(owner, ME, start) is expected


PROGRAM = textwrap.dedent("""
    import os, sys, time
    from tools.outboxes import Box, WHERE
    box = Box(sys.argv[1])
    box.append(*[b"%03d" % number for number in range(50)])

    def read_own_folder():
        for name in os.listdir(sys.argv[1]):
            with open(os.path.join(sys.argv[1], name), "rb") as stream:
                stream.read()

    def fork_an_idle_child():
        child = os.fork()
        if not child:
            os.close(1)
            os.close(2)
            time.sleep(3600)
        sys.stdout.write("child %d\\n" % child)
        sys.stdout.flush()

    def become_another_program():
        sys.stdout.write("holds " + box.path + "\\n")
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(3600)"])

    for word in sys.argv[2:]:
        globals()[word]()
    sys.stdout.write("holds " + box.path + "\\n")
    sys.stdout.flush()
    while not os.path.exists(sys.argv[1] + "-go"):
        time.sleep(0.01)
    box.append(*[b"%03d" % number for number in range(50, 100)])
    sys.stdout.write("has " + " ".join(body.decode("ascii") for body in box.bodies()) + "\\n")
    sys.stdout.flush()
    sys.stdin.readline()
""")


@pytest.fixture
def owner(tmp_path):
    """Starts the program above; returns (its process, the outbox it holds)."""
    started = []

    def start(*words):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)] + list(words)
        started.append(ChildProcess(command, environment()))
        line = started[-1].wait_for_line(re.compile("holds (.*)"), PATIENCE)
        return started[-1], line.group(1).strip()

    yield start
    for each in started:
        each.close()


def test_a_process_that_reads_its_own_folder_keeps_its_outbox(owner, tmp_path):
    """A zip, a backup or a support bundle closes files, which drops sqlite's lock on them."""
    process, path = owner("read_own_folder")
    assert has_owner(path) is True
    with pytest.raises(StoreHeld):
        Store(path)
    warnings = Warnings()
    spool = Spool(str(tmp_path), WHERE, False, warnings)
    mine = spool.claim()
    assert mine.path != path and path not in spool.candidates([mine.path])
    open(str(tmp_path) + "-go", "w").close()
    bodies = process.wait_for_line(re.compile("has (.*)"), PATIENCE).group(1).split()
    assert bodies == ["%03d" % number for number in range(100)]
    mine.close()
    assert warnings.told == []


def test_an_idle_forked_child_does_not_hold_a_dead_owners_outbox(owner):
    """It has copies of all descriptors, and of the companion's lock."""
    process, path = owner("fork_an_idle_child")
    child = int(process.wait_for_line(re.compile("child (.*)"), PATIENCE).group(1))
    with open(path + OWNER, "rb") as companion:
        assert not ownership._lock(companion.fileno())
        process.kill()
        assert not ownership._lock(companion.fileno()), "the child has no copy of the lock"
    try:
        assert has_owner(path) is False
        store = Store(path)
        # The lock is still the child's; the name in the companion keeps others out.
        assert has_owner(path) is None
        assert store.entries()[0].waiting == 50
        store.close()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="without it, only locks tell")
def test_a_process_that_became_another_program_owns_nothing_any_more(owner):
    """Its number and its start are the same after exec; its locks are gone."""
    process, path = owner("become_another_program")
    wait_until(lambda: has_owner(path) is False)
    store = Store(path)
    assert store.entries()[0].waiting == 50
    store.close()
    process.kill()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="without it, only locks tell")
def test_a_killed_process_that_nobody_reaps_owns_nothing_any_more(tmp_path):
    """As in a container whose first process does not wait for others."""
    killed = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        path = killed.stdout.readline().decode("ascii").split()[1]
        assert has_owner(path) is True
        os.kill(killed.pid, signal.SIGKILL)
        wait_until(lambda: has_owner(path) is False)
        store = Store(path)
        assert store.entries()[0].waiting == 50
        store.close()
    finally:
        killed.kill()
        killed.wait()
        killed.stdin.close()
        killed.stdout.close()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="without it, only locks tell")
def test_the_processes_of_another_namespaces_proc_tell_nothing(monkeypatch):
    """After `unshare --pid` without a /proc of its own, numbers mean other processes there."""
    readlink = os.readlink
    assert ownership._start(str(os.getpid())) and ownership._start("999999999") is None
    monkeypatch.setattr(
        os, "readlink", lambda path: "1" if path == "/proc/self" else readlink(path)
    )
    assert ownership._start(str(os.getpid())) == ownership._start("999999999") == ""


def test_a_companion_that_names_nobody_tells_nothing(owner, tmp_path):
    """Whoever tries the outbox of an older datacat, which has no companion, leaves one."""
    process, path = owner()
    os.remove(path + OWNER)
    spool = Spool(str(tmp_path), WHERE, False, Warnings())
    for _ in range(2):
        assert spool.open_if_free(path) is None
        assert has_owner(path) is None
        assert path in spool.candidates([])
    process.kill()
    assert has_owner(path) is None and spool.open_if_free(path).close() is None


def test_a_companion_that_a_cleaner_removed_is_made_anew(tmp_path):
    """Or a zip of the folder would make the outbox anybody's."""
    box = Box(tmp_path)
    box.append(b"1")
    os.remove(box.path + OWNER)
    box.outbox.upkeep.rescue(None)
    assert has_owner(box.path, ours=True)
    with open(box.path + OWNER, "rb") as companion:
        assert not ownership._lock(companion.fileno())
    box.append(b"2")
    assert box.bodies() == [b"1", b"2"] and box.warnings.told == []
    box.close()


def test_a_child_forked_while_somebody_looks_keeps_no_lock(tmp_path, monkeypatch):
    """It has a copy of the descriptor, for as long as it lives."""
    path, copies, judged = str(tmp_path / NAME), [], ownership._judged
    Store(path).close()

    def forked(descriptor):
        copies.append(os.dup(descriptor))
        return judged(descriptor)

    monkeypatch.setattr(ownership, "_judged", forked)
    has_owner(path)
    monkeypatch.undo()
    store = Store(path)
    store.close()
    os.close(copies[0])


def test_a_companion_that_cannot_be_made_private_leaks_no_descriptor(tmp_path, monkeypatch):
    def refuse(descriptor, mode):
        raise OSError(errno.EPERM, "not permitted")

    before = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fchmod", refuse)
        claimed = Ownership(str(tmp_path / NAME))
        claimed.claim()
    assert claimed.missing is not None and len(os.listdir("/dev/fd")) == before


def test_two_descriptors_of_one_process_do_not_both_own(tmp_path):
    path = str(tmp_path / NAME)
    first = Store(path)
    with pytest.raises(StoreHeld):
        Store(path)
    with open(path + OWNER, "rb") as companion:
        assert str(os.getpid()).encode("ascii") in companion.read().split()
    first.close()


def test_a_closed_outbox_is_free_though_its_process_and_a_child_live_on(owner, tmp_path):
    path = str(tmp_path / NAME)
    store = Store(path)
    # What a forked child inherits.
    copy = os.dup(store.ownership._descriptor)
    store.close()
    try:
        process, held = owner()
        assert held == path
        process.kill()
    finally:
        os.close(copy)


def test_a_forked_child_that_leaves_the_outbox_keeps_nothing_of_the_companion(tmp_path):
    store = Store(str(tmp_path / NAME))
    descriptor = store.ownership._descriptor
    copy = os.dup(descriptor)  # the owner's
    store.abandon()
    with pytest.raises(OSError):
        os.fstat(descriptor)
    with open(store.path + OWNER, "rb") as companion:
        assert not ownership._lock(companion.fileno()), "the lock is the owner's"
    os.close(copy)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_on_companions_sqlites_lock_decides_and_a_warning_tells(
    tmp_path, monkeypatch, number
):
    def refuse(descriptor, how):
        raise EnvironmentError(number, os.strerror(number))

    monkeypatch.setattr(ownership.fcntl, "flock", refuse)
    warnings = Warnings()
    spool = Spool(str(tmp_path), WHERE, False, warnings)
    first, second = spool.claim(), spool.claim()
    assert first.path != second.path and set(warnings.topics) == {"owner"}
    words = warnings.told[0][1]
    assert str(tmp_path) in words and os.strerror(number) in words and "spool_dir=" in words
    with pytest.raises(StoreHeld):
        Store(first.path)
    first.close()
    second.close()


def test_a_companion_that_cannot_be_opened_costs_no_outbox(tmp_path):
    path = str(tmp_path / NAME)
    os.mkdir(path + OWNER)
    store = Store(path)
    assert store.ownership.missing is not None and has_owner(path) is None
    store.close()


def test_a_companion_that_was_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    """Its outbox was deleted just then; a lock on a file without a name keeps nobody out."""
    path = str(tmp_path / NAME)
    opened, removed = ownership._open, []

    def removed_once(companion):
        descriptor = opened(companion)
        if not removed:
            os.remove(companion)
            removed.append(companion)
        return descriptor

    monkeypatch.setattr(ownership, "_open", removed_once)
    mine = Ownership(path)
    mine.claim()
    mine.sign()
    assert os.fstat(mine._descriptor).st_ino == os.stat(path + OWNER).st_ino
    assert removed and has_owner(path) is None
    mine.release()


def test_who_loses_an_outbox_to_another_process_does_not_sign_for_it(owner):
    """sqlite's lock is taken after the companion's, and may be refused."""
    process, path = owner()
    with open(path + OWNER, "rb+") as companion:
        named = companion.read()
        # As an owner that lost its companion has it: nobody named, nobody locking.
        os.remove(path + OWNER)
    with pytest.raises(StoreHeld):
        Store(path)
    with open(path + OWNER, "rb") as companion:
        assert companion.read().strip() == b"" and named.strip() != b""
    process.kill()


def test_an_interruption_while_an_outbox_is_opened_leaves_it_free(tmp_path, monkeypatch):
    """Ctrl-C, between the locks of companion and outbox."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    def open_it():
        # On 2.7 its exception lives until the function that caught it returns.
        try:
            Store(path)
        except KeyboardInterrupt:
            pass

    path = str(tmp_path / NAME)
    with monkeypatch.context() as patched:
        patched.setattr(connection.sqlite3, "connect", interrupted)
        open_it()
    gc.collect()
    store = Store(path)
    assert store.entries() == []
    store.close()


def test_companions_of_deleted_outboxes_go_with_them(tmp_path):
    spool = Spool(str(tmp_path), WHERE, False, Warnings())
    spool.create().delete()
    assert os.listdir(str(tmp_path)) == []
