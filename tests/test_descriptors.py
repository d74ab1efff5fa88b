"""Descriptors that are closed under the library, and reused by the application's files."""

from __future__ import absolute_import, division

import os
import threading

import pytest
from tools.waiting import PATIENCE

from datacat.descriptors import Descriptors, opened
from datacat.locks import PipeBell

pytestmark = pytest.mark.skipif(os.name != "posix", reason="numbers that anybody can close")
pipes = pytest.mark.skipif(
    not hasattr(os, "set_blocking"), reason="PipeBell is for Python 3 where there is poll(2)"
)


@pytest.fixture
def mine(tmp_path):
    """A file of the application."""
    descriptor = os.open(str(tmp_path / "mine"), os.O_CREAT | os.O_RDWR)
    yield descriptor
    assert os.fstat(descriptor).st_size == 0, "nothing was written into it"
    os.close(descriptor)


def take(descriptors, mine):
    for descriptor in descriptors:
        os.dup2(mine, descriptor)


def test_a_descriptor_is_ours_until_it_is_closed_or_another_files(tmp_path, mine):
    ours = os.open(str(tmp_path / "ours"), os.O_CREAT | os.O_RDWR)
    descriptors = Descriptors(ours)
    assert descriptors.are_ours() and Descriptors().are_ours()
    os.close(ours)
    assert not descriptors.are_ours()
    take([ours], mine)
    assert not descriptors.are_ours()
    os.close(ours)


def test_a_file_opened_for_a_moment_is_closed_if_it_is_still_ours(tmp_path, mine):
    with opened(str(tmp_path / "mine"), os.O_RDONLY) as descriptor:
        pass
    with pytest.raises(OSError):
        os.fstat(descriptor)
    (tmp_path / "ours").write_bytes(b"")
    with opened(str(tmp_path / "ours"), os.O_RDONLY) as descriptor:
        take([descriptor], mine)
    os.fstat(descriptor)
    os.close(descriptor)


@pipes
def test_a_bell_whose_pipe_was_taken_still_wakes_and_leaves_the_application_its_files(mine):
    bell = PipeBell()
    ends = bell._ends
    take(ends, mine)
    bell.ring()
    bell.wait(None)
    bell = None
    for end in ends:
        os.fstat(end)
        os.close(end)


@pipes
@pytest.mark.parametrize("taken", [(0, 1), (0,), (1,)], ids=["both", "its end", "the other"])
def test_who_sleeps_while_the_pipe_is_taken_is_woken_by_the_next_ring(mine, taken):
    bell, rung = PipeBell(), []
    ends = bell._ends

    def sleep():
        while not rung:
            bell.wait(None)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    take([ends[which] for which in taken], mine)
    rung.append(True)
    bell.ring()
    sleeper.join(PATIENCE)
    assert not sleeper.is_alive()
    bell = None
    for end in ends:
        os.close(end)
