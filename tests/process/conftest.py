"""What the tests of processes share: disks that are never slow, however busy the machine."""

from __future__ import absolute_import, division

import pytest
from tools.outboxes import disks_timed_by_the_test


@pytest.fixture(autouse=True)
def timed_disks():
    """On a disk that passes for slow, records stay in memory a while, and files stay open."""
    with disks_timed_by_the_test():
        yield
