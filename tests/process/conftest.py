"""What the tests of processes share: disks that are never slow, however busy the machine."""

from __future__ import absolute_import, division

import pytest


@pytest.fixture(autouse=True)
def only_the_test_makes_disks_slow(timed_disks):
    """A busy machine looks like a slow disk."""
