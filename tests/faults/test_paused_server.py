"""Once (3): a server that stands still and goes on applies what was sent meanwhile, once."""
from __future__ import absolute_import, division

import time

from datacat._compat import monotonic

BOTH_GENERATIONS = True


def test_a_server_stopped_while_requests_time_out_makes_no_copies_when_it_goes_on(
        trial, proxy, scaled):
    """Once: what was sent into the silence is looked for before it is sent again."""
    trial.start(records=scaled(200, 600), sessions=2, seconds_between=0.02, timeout=0.5)
    trial.application.wait_for_accepted(40)
    trial.server.pause()
    time.sleep(scaled(3, 10))
    unanswered = [seen for seen in proxy.log if seen.status is None]
    trial.server.resume()
    trial.await_drained(monotonic())
    trial.leave()
    assert len(unanswered) >= 3
    trial.check()
    trial.check_no_losses()
