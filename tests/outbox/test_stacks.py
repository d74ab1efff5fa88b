"""The files that faulthandler writes to: private, found by who reports the crash, and tidied."""

from __future__ import absolute_import, division

import os
import stat

import pytest
from tools.outboxes import NAME, SCOPE, WHERE, Warnings

from datacat import descriptors
from datacat.outbox import names, stacks
from datacat.outbox.spool import Spool

SEGFAULT = u"Fatal Python error: Segmentation fault"
OTHER = u'Thread 0x02 (most recent call first):\n  File "a.py", line 1 in wait'
CURRENT = u'Current thread 0x01 (most recent call first):\n  File "a.py", line 2 in crash'


@pytest.fixture
def outbox(quick_folder):
    """The path of an outbox that needs no file here."""
    return os.path.join(quick_folder, NAME)


def write(path, text, age=0):
    """Write a file that was last changed `age` seconds before the time 1e9."""
    with open(path, "wb") as stream:
        stream.write(text.encode("ascii"))
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def child_of(outbox):
    """Return the path of the outbox of a process forked from an outbox's owner."""
    name = NAME.replace("-bbbbbbbbbbbb", "-cccccccccccc-bbbbbbbbbbbb")
    return os.path.join(os.path.dirname(outbox), name)


def test_a_file_is_private_and_empty(outbox):
    path = names.stacks_of(outbox, "local-1", 7)
    descriptor = stacks.create(path)
    found = os.fstat(descriptor)
    assert found.st_size == 0 and os.path.samestat(found, os.stat(path))
    assert os.name != "posix" or stat.S_IMODE(found.st_mode) == 0o600
    os.close(descriptor)


@pytest.mark.skipif(descriptors.fcntl is None, reason="this system copies no descriptors")
def test_its_descriptor_has_a_number_that_no_later_file_gets_and_no_program_inherits(outbox):
    descriptor = stacks.create(names.stacks_of(outbox, "local-1", 7))
    assert descriptor >= 256
    flags = descriptors.fcntl.fcntl(descriptor, descriptors.fcntl.F_GETFD)
    assert flags & descriptors.fcntl.FD_CLOEXEC
    os.close(descriptor)


def test_each_process_of_a_session_has_its_own_and_only_that(outbox):
    child = child_of(outbox)
    own = names.stacks_of(outbox, "local-1", 7)
    first, second = [names.stacks_of(child, "local-1", number) for number in (8, 9)]
    of_another = names.stacks_of(outbox, "local-2", 7)
    elsewhere = names.stacks_of(outbox.replace(SCOPE, "dddddddddddd"), "local-1", 7)
    for path in (own, first, second, of_another, elsewhere):
        write(path, SEGFAULT)
    assert stacks.left_by(child, "8") == {"local-1": first}
    assert stacks.left_by(child, "9") == {"local-1": second}
    # Another run may have had the outbox since, and noted its own process there.
    assert stacks.left_by(outbox, "100") == {"local-1": own, "local-2": of_another}


def test_one_in_memory_has_none():
    assert names.stacks_of(":memory:", "local-1", 7) is None
    assert stacks.left_by(":memory:", "7") == {}


def test_what_nobody_wrote_is_no_dump(outbox):
    path = names.stacks_of(outbox, "local-1", 7)
    assert stacks.read(None) is None and stacks.read(path) is None
    write(path, u"")
    assert stacks.read(path) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_what_is_no_file_of_ours_is_not_read(outbox):
    path = names.stacks_of(outbox, "local-1", 7)
    os.mkfifo(path)
    assert stacks.read(path) is None
    os.remove(path)
    os.symlink(write(outbox + "-other", u"secret"), path)
    assert stacks.read(path) is None


def test_the_thread_that_crashed_comes_first_and_the_whole_is_bounded(outbox):
    text = u"\n\n".join([SEGFAULT] + [OTHER] * 5000 + [CURRENT] + [OTHER] * 5000)
    dump = stacks.read(write(names.stacks_of(outbox, "local-1", 7), text))
    assert dump.error == SEGFAULT
    assert dump.stacks.startswith(SEGFAULT + u"\n\n" + CURRENT + u"\n\n" + OTHER)
    assert len(dump.stacks) < stacks.LONGEST + 100 and u"characters cut>" in dump.stacks


def test_after_30_days_it_is_removed_unless_its_process_lives(outbox):
    folder = os.path.dirname(outbox)
    days = 86400
    fresh = write(names.stacks_of(outbox, "local-1", 7), u"", age=29 * days)
    write(names.stacks_of(outbox, "local-2", 7), SEGFAULT, age=31 * days)
    living = names.stacks_of(outbox, "local-3", 7)
    descriptor = stacks.create(living)
    os.utime(living, (0, 0))
    stacks.remove_old(folder, 1e9)
    assert sorted(os.listdir(folder)) == sorted(map(os.path.basename, [fresh, living]))
    os.close(descriptor)
    stacks.remove_old(folder, 1e9)
    assert os.listdir(folder) == [os.path.basename(fresh)]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_folder_with_such_files_is_made_private(outbox):
    folder = os.path.dirname(outbox)
    write(names.stacks_of(outbox, "local-1", 7), u"")
    write(names.end_of(outbox, "local-1"), u"")
    os.chmod(folder, 0o755)
    spool = Spool(folder, WHERE, False, Warnings())
    spool.claim().close()
    spool.tidy()
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    # 30 days have passed since the year 2001.
    assert not [name for name in os.listdir(folder) if name.endswith((".stacks", ".ended"))]
