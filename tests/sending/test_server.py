"""Promises about the server: whether it is there, and which generation it is."""

from __future__ import absolute_import, division

import collections

import pytest
from tools.memory_server import portal, refuse, say
from tools.sending import HTML, NAMES, log

from datacat import errors
from datacat.sending.link import Link

AWAY = errors.NotSent("refused")
CUT = errors.OutcomeUnknown("cut")


def half():
    return 0.5


# -- whether it is there


def test_nothing_is_known_of_a_server_before_the_first_attempt():
    assert Link().online is None


def test_a_link_is_online_after_a_success_and_not_after_a_failure():
    link = Link()
    link.succeeded()
    assert link.online is True
    link.failed(AWAY, 10.0, half)
    assert link.online is False and link.last_error is AWAY
    assert link.due == 10.25


def test_one_missing_answer_does_not_make_a_server_away_and_a_second_one_does():
    link = Link()
    link.failed(CUT, 0.0, half)
    assert link.online is None
    link.succeeded()
    link.failed(CUT, 0.0, half)
    assert link.online is True
    link.failed(CUT, 0.0, half)
    assert link.online is False


def test_a_success_forgets_the_backoff():
    link = Link()
    for _ in range(5):
        link.failed(AWAY, 10.0, half)
    assert link.due == 14.0
    link.succeeded()
    assert link.due == 0.0
    link.failed(AWAY, 10.0, half)
    assert link.due == 10.25


# -- which generation


def test_classic_is_concluded_from_unknown_health_and_a_session_without_v1s_fields(make_bench):
    classic = make_bench(classic=True)
    classic.entry = classic.session()
    assert classic.sender.server.dialect is None
    log(classic)
    classic.drain()
    assert classic.sender.server.dialect.name == "classic"
    reads = classic.reads()
    healths = [request for request in classic.server.calls if request.path == "/health"]
    assert len(reads) == 1 and len(healths) == 1


def test_a_v1_server_whose_health_is_hidden_is_recognised_by_a_sessions_fields(make_bench):
    bench = make_bench()
    bench.server.concerned = lambda request: request.path == "/health"
    bench.server.fault = say(403, "no", HTML)
    entry = bench.session()
    bench.event(entry, "one")
    bench.drain()
    assert bench.sender.server.dialect.name == "v1"
    assert bench.server.only_session()["events"][0]["timestamp"].endswith("Z")


def test_a_portal_is_never_taken_for_a_classic_server(v1):
    v1.employ()
    v1.server.fault = portal
    log(v1)
    v1.run(300)
    assert v1.sender.server.dialect is None
    v1.server.fault = None
    v1.drain()
    assert v1.sender.server.dialect.name == "v1" and v1.server.names() == NAMES


@pytest.mark.parametrize("outage", [refuse, say(503, "busy"), say(502, "", HTML), portal])
def test_after_an_outage_the_server_is_asked_again_what_it_is(classic, outage):
    log(classic)
    classic.drain()
    classic.server.fault = outage
    log(classic)
    classic.run(60)
    classic.server.fault = None
    classic.server.classic = False
    stored = classic.server.only_session()
    classic.server.sessions["server-1"] = collections.OrderedDict(
        [("id", "server-1"), ("suspended", False)] + list(stored.items())
    )
    classic.drain()
    assert classic.sender.server.dialect.name == "v1"
    assert classic.server.names() == NAMES * 2


def test_a_server_that_lost_a_session_is_asked_again_what_it_is(classic):
    classic.server.classic = False
    classic.server.lose_data()
    log(classic)
    classic.drain()
    assert classic.sender.server.dialect.name == "v1"
