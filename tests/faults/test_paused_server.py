"""Once (3): a server that is suspended and resumed has each record once."""

from __future__ import absolute_import, division

import pytest
from tools.faults import is_write
from tools.waiting import wait_until


@pytest.fixture
def server(own_server):
    """A collector of the test's own, because the test suspends it."""
    return own_server


def unanswered(proxy):
    return [seen for seen in proxy.log if seen.status is None]


def test_a_suspended_server_makes_no_copies_when_it_resumes(trial, proxy, scaled):
    """Once: a record whose request timed out is read back before it is sent again."""
    trial.start(
        records=scaled(120, 600), sessions=2, seconds_between=0.02, endless=True, timeout=1.0
    )
    wait_until(lambda: sum(is_write(seen) and bool(seen.status) for seen in proxy.log) > 5)
    trial.server.pause()
    # The second is sent when the client has given up on the first, and so on.
    wait_until(lambda: len(unanswered(proxy)) >= scaled(3, 8))
    given_up = unanswered(proxy)
    trial.server.resume()
    trial.enough()
    trial.await_drained(within=300)
    trial.leave()
    # A record that the server applied long after the client had given up.
    assert any(is_write(seen) and seen.applied for seen in given_up), given_up
    trial.check()
    trial.check_no_losses()
