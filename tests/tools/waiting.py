"""Waiting for a condition, with a deadline."""

from __future__ import absolute_import, division

import time

from datacat._compat import monotonic

# Seconds.  Whatever takes longer hangs: no machine is so slow.
PATIENCE = 120.0
GLANCE = 0.01  # seconds


def wait_until(condition, timeout=PATIENCE):
    """Return when `condition()` is true; raise AssertionError after `timeout` seconds."""
    end = monotonic() + timeout
    while not condition():
        assert monotonic() < end, "the condition was still false after %s s" % timeout
        time.sleep(GLANCE)
