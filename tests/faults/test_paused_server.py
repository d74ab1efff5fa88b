"""Once (3): a server that is suspended and resumed has each record once."""

from __future__ import absolute_import, division

import time

import pytest
from tools.faults import is_write
from tools.waiting import wait_until

from datacat._compat import monotonic


@pytest.fixture
def server(own_server):
    """A collector of the test's own, because the test suspends it."""
    return own_server


def test_a_suspended_server_makes_no_copies_when_it_resumes(trial, proxy, scaled):
    """Once: a record whose request timed out is read back before it is sent again."""
    trial.start(records=scaled(120, 600), sessions=2, seconds_between=0.02, timeout=0.3)
    wait_until(lambda: sum(is_write(seen) and bool(seen.status) for seen in proxy.log) > 5)
    trial.server.pause()
    time.sleep(scaled(2.5, 10))
    unanswered = [seen for seen in proxy.log if seen.status is None]
    trial.server.resume()
    trial.await_drained(monotonic())
    trial.leave()
    assert len(unanswered) >= 3
    # A record that the server applied long after the client had given up.
    assert any(is_write(seen) and seen.applied for seen in unanswered), unanswered
    trial.check()
    trial.check_no_losses()
