"""An outbox for each test, closed after it."""

from __future__ import absolute_import, division

import pytest
from tools.outboxes import Box


@pytest.fixture(autouse=True)
def only_the_test_makes_disks_slow(timed_disks):
    """A busy machine looks like a slow disk."""


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_box(tmp_path):
    made = []

    def make(**options):
        made.append(Box(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
