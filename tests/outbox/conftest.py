"""An outbox for each test, closed after it."""

from __future__ import absolute_import, division

import pytest
from tools.outboxes import Box, disks_timed_by_the_test


@pytest.fixture(autouse=True)
def timed_disks():
    """A busy machine looks like a slow disk; here only the test makes disks slow."""
    with disks_timed_by_the_test():
        yield


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
