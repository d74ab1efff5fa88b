"""Promises of the heartbeats to a v1 server: every 15 seconds, never queued, never in the way."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import refuse, say
from tools.sending import log


def test_a_v1_server_gets_a_heartbeat_every_15_seconds_while_a_session_lives(v1):
    v1.run(60.1)
    assert len(v1.server.sent_to("/heartbeat")) == 4
    v1.end(v1.entry)
    v1.run(1)
    ended = len(v1.server.sent_to("/heartbeat"))
    v1.run(60)
    assert len(v1.server.sent_to("/heartbeat")) == ended
    assert v1.step() is None


def test_classic_gets_no_heartbeats(classic):
    classic.run(100)
    assert not classic.server.sent_to("/heartbeat")


@pytest.mark.parametrize("fault", [say(404, "Not found\n"), say(500, "oops"), say(400, "no")])
def test_a_heartbeat_that_is_refused_delays_nothing(v1, fault):
    v1.server.concerned = lambda request: request.path.endswith("/heartbeat")
    v1.server.fault = fault
    for number in range(10):
        log(v1, ["%d" % number])
        v1.run(10)
    assert v1.server.struck > 3 and v1.entry.waiting == 0
    assert v1.link.online is True


def test_heartbeats_are_never_queued(v1):
    v1.server.fault = refuse
    v1.run(300)
    v1.server.fault = None
    before = len(v1.server.sent_to("/heartbeat"))
    v1.run(31)
    assert 1 <= len(v1.server.sent_to("/heartbeat")) - before <= 3


def test_an_ended_session_causes_no_more_wakeups(v1):
    v1.run(1)
    v1.end(v1.entry)
    v1.drain()
    assert v1.step() is None


def test_the_first_heartbeat_comes_15_seconds_after_the_session_was_opened(v1):
    """From then on the server expects them; a short run needs none."""
    v1.end(v1.entry)
    v1.run(1000)
    entry = v1.session()
    v1.run(14.5)
    assert not v1.server.sent_to("/heartbeat")
    v1.run(1)
    assert len(v1.server.sent_to("/%s/heartbeat" % entry.server_id)) == 1


@pytest.mark.parametrize("windows", [False, True])
def test_heartbeats_of_many_sessions_share_round_trips(v1, windows):
    """200 sessions behind 100 ms: one by one their heartbeats took longer than 15 seconds."""
    v1.server.windows = windows
    for _ in range(199):
        v1.session()
    v1.run(100)
    begun = {}
    call_all = v1.server.call_all

    def timed(requests):
        begun[v1.world.now] = len(requests)
        return call_all(requests)

    v1.server.call_all = timed
    del v1.server.calls[:]
    v1.run(15.5)
    assert len(v1.server.sent_to("/heartbeat")) == 200
    if windows:
        assert list(begun.values()) == [20] * 10


def test_records_are_sent_between_the_heartbeats_of_many_sessions(v1):
    for _ in range(99):
        v1.session()
    v1.run(14)
    del v1.server.calls[:]
    while not v1.server.calls:
        v1.world.pass_(v1.step() or 0)
    log(v1, ["meanwhile"])
    v1.run(14)
    operations = [request.path.rsplit("/", 1)[1] for request in v1.server.calls]
    assert operations.count("heartbeat") == 100
    assert operations.index("events") < 30


def test_a_server_that_goes_away_is_not_asked_for_the_rest_of_the_sessions(v1):
    for _ in range(50):
        v1.session()
    v1.run(14)
    v1.server.fault = refuse
    del v1.server.calls[:]
    v1.run(2)
    assert len(v1.server.sent_to("/heartbeat")) <= 1


def test_a_busy_server_is_noticed_whichever_heartbeat_it_refuses(v1):
    v1.server.windows = True
    v1.session()
    v1.run(14)
    v1.server.concerned = lambda request: request.path.endswith("/heartbeat")
    v1.server.next_faults = [say(404, "Not found\n"), say(503, "busy")]
    v1.run(2)
    assert v1.server.struck == 2 and v1.link.failures == 1
