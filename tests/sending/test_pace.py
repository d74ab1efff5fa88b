"""Promises about the pace of requests: recent ones count, and an outage starts it again."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import refuse
from tools.sending import log

from datacat.sending.pace import HEAD_BYTES, Pace


def test_nothing_is_known_before_the_first_request():
    assert Pace().seconds is None


def test_the_seconds_are_those_of_each_request_and_the_rate_is_that_of_all():
    pace = Pace()
    pace.note([700] * 10, 2.0)
    assert pace.seconds == pytest.approx(0.2)
    assert pace.rate == pytest.approx((700 + HEAD_BYTES) * 5)
    assert pace.together == 10


def test_recent_requests_count_most_and_the_best_of_all_is_kept():
    pace = Pace()
    pace.note([700], 0.1)
    for _ in range(50):
        pace.note([700], 1.0)
    assert pace.seconds == pytest.approx(1.0, rel=0.01)
    assert pace.rate == pytest.approx(700 + HEAD_BYTES, rel=0.02)
    assert pace.quickest == 0.1
    assert pace.fastest == pytest.approx((700 + HEAD_BYTES) * 10)


def test_an_answer_within_the_clocks_resolution_has_a_pace_too():
    pace = Pace()
    pace.note([700], 0.0)
    assert pace.seconds == 0.0 and pace.rate > 0


def test_the_sender_measures_what_it_sends_and_an_outage_starts_that_again(classic):
    def slow(server, request):
        server.world.pass_(0.5)
        return server.answer(request)

    classic.server.fault = slow
    log(classic, ["x"] * 60)
    classic.drain()
    pace = classic.sender.server.pace
    assert pace.seconds == pytest.approx(0.5, rel=0.01) and pace.together == 1
    classic.server.fault = refuse
    log(classic, ["x"])
    classic.run(1)
    assert classic.sender.server.pace.seconds is None
