"""Warnings are not repeated, and not forgotten."""

from __future__ import absolute_import, division

import pytest
from tools.outboxes import Clock

from datacat.notices import Notices


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def notices(clock):
    return Notices(clock)


def logged(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_warning_is_logged_once_until_its_topic_is_cleared(notices, clock, caplog):
    notices("disk", "full")
    clock.now += 60
    notices("disk", "still full")
    notices("server", "away")
    notices.clear("disk")
    notices("disk", "full again")
    assert logged(caplog) == ["full", "away", "full again"]


def test_trouble_that_comes_and_goes_is_warned_of_once_a_minute_at_most(notices, clock, caplog):
    for second in range(150):
        notices("disk", "full after %d s" % second)
        notices.clear("disk")
        clock.now += 1
    assert logged(caplog) == ["full after 0 s", "full after 60 s", "full after 120 s"]


def test_topics_that_were_cleared_long_ago_take_no_memory(notices, clock):
    """A process may have thousands of sessions, each with a topic of its own."""
    for number in range(1000):
        notices("session %d" % number, "refused")
        notices.clear("session %d" % number)
        clock.now += 1
    assert sum(len(kept) for kept in vars(notices).values() if hasattr(kept, "__len__")) <= 60
