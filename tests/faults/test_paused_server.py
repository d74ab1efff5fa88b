"""Once (3): a server that stands still and goes on applies what was sent meanwhile, once."""

from __future__ import absolute_import, division

import time

import pytest
from tools.faults import is_write
from tools.waiting import wait_until

from datacat._compat import monotonic


@pytest.fixture
def server(own_server):
    """A collector of this test alone, for the test stops it."""
    return own_server


def test_a_server_stopped_while_requests_time_out_makes_no_copies_when_it_goes_on(
    trial, proxy, scaled
):
    """Once: what was sent into the silence is looked for before it is sent again."""
    trial.start(records=scaled(120, 600), sessions=2, seconds_between=0.02, timeout=0.3)
    wait_until(lambda: sum(is_write(seen) and bool(seen.status) for seen in proxy.log) > 5)
    trial.server.pause()
    time.sleep(scaled(2.5, 10))
    unanswered = [seen for seen in proxy.log if seen.status is None]
    trial.server.resume()
    trial.await_drained(monotonic())
    trial.leave()
    assert len(unanswered) >= 3
    # A record that the server took when the client had long given up waiting.
    assert any(is_write(seen) and seen.applied for seen in unanswered), unanswered
    trial.check()
    trial.check_no_losses()
