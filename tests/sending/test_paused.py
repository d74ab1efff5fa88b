"""What a paused sender does: nothing, at any hour, whatever is due."""

from __future__ import absolute_import, division

from tools.sending import log


def test_no_request_is_made_not_even_a_heartbeat(v1):
    v1.is_paused = True
    log(v1)
    before = len(v1.server.calls)
    v1.run(3600)
    assert len(v1.server.calls) == before
    v1.is_paused = False
    v1.drain()
    assert len(v1.server.sent_to("/events")) == 3


def test_it_sleeps_whatever_is_logged(v1):
    v1.is_paused = True
    assert v1.step() >= 3600
    log(v1)
    assert not v1.sender.listens(v1.world.now)
    steps = v1.steps
    v1.run(24 * 3600)
    assert v1.steps - steps <= 25


def test_what_waited_is_no_backlog(v1):
    for number in range(4):
        v1.is_paused = True
        log(v1, ["%d" % number] * (number + 1))
        v1.run(3600)
    v1.is_paused = False
    v1.drain()
    assert v1.warnings.about("backlog") == []
