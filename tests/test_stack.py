"""A call finds room on a stack, its own or a thread's."""

from __future__ import absolute_import, division

import threading

import pytest
from tools.depths import at_each_depth

from datacat.stack import ROOM, call_with_room


def descend(frames):
    """Call itself some times, and return True."""
    return frames == 0 or descend(frames - 1)


def test_a_call_with_stack_left_is_made_in_its_own_thread():
    threads = []
    call_with_room(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


def test_a_call_without_stack_left_is_made_with_room_and_waited_for():
    made = []
    in_vain = at_each_depth(
        lambda level: call_with_room(lambda: made.append(descend(ROOM - 20))), ROOM + 20
    )
    # Nothing at all can be called in the deepest ones.
    assert in_vain == list(range(len(in_vain))) and len(in_vain) <= 4
    assert made == [True] * (ROOM + 20 - len(in_vain))


def test_if_no_thread_can_be_started_that_is_raised(monkeypatch):
    def refuse(*_):
        raise ValueError("no thread")

    monkeypatch.setattr("datacat.stack._thread.start_new_thread", refuse)
    made = []

    def call(level):
        with pytest.raises(ValueError):
            call_with_room(lambda: made.append(True))

    in_vain = at_each_depth(call, 30)
    assert len(in_vain) < 30 and made == []
