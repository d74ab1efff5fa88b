"""How tests wait: for a condition with a deadline, never for luck."""

from __future__ import absolute_import, division

import time

from datacat._compat import monotonic

GLANCE = 0.01  # seconds


def wait_until(condition, timeout=60):
    """Return when `condition()` holds; raise AssertionError after `timeout` seconds."""
    end = monotonic() + timeout
    while not condition():
        assert monotonic() < end, "waited %s s in vain" % timeout
        time.sleep(GLANCE)
