"""Promises about a long outage: attempts thin out, and another own address means one at once."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import never_answer, portal, refuse, say
from tools.sending import NAMES, log

from datacat import errors
from datacat.sending.link import LOOK_SECONDS, Link, has_moved

AWAY = errors.NotSent("refused")
HOME, ELSEWHERE, NOWHERE = ("10.0.0.7",), ("172.16.0.9",), (None,)
HOUR = 3600.0


def most():
    return 1.0


def unreachable(hours=3.0):
    """Return a link that has been unreachable for so long, and when it failed last."""
    link, now = Link(), 0.0
    while now < hours * HOUR:
        link.failed(AWAY, now, most)
        failed_at, now = now, link.due
    return link, failed_at


# -- pauses


def test_attempts_thin_out_to_one_in_five_minutes():
    link, now, pauses = Link(), 0.0, {}
    while now < 3 * HOUR:
        link.failed(AWAY, now, most)
        pauses[now], now = link.due - now, link.due
    assert max(pause for at, pause in pauses.items() if at <= 600) == 30.0
    assert 30.0 < min(pause for at, pause in pauses.items() if at > 650)
    assert set(pause for at, pause in pauses.items() if at > 2 * HOUR) == {300.0}


@pytest.mark.parametrize(
    "error",
    [
        errors.NotAuthorized("no"),
        errors.ServerBusy("busy"),
        errors.OutcomeUnknown("cut"),
        errors.ServerFault("oops"),
        errors.UnexpectedAnswer("a portal"),
        errors.TlsFailure("no trust"),
    ],
)
def test_a_server_that_was_reached_is_tried_as_often_as_before(error):
    link, now = unreachable()
    link.failed(error, now, most)
    assert link.due - now <= 30.0
    # From now on the outage is a new one.
    link.failed(AWAY, now, most)
    assert link.due - now <= 30.0


def test_a_retry_after_is_not_cut_short_by_another_address():
    link, now = unreachable()
    link.failed(errors.ServerBusy("busy", retry_after=1000.0), now, most)
    assert link.look_due >= link.due


def test_after_a_success_the_outage_is_forgotten():
    link, now = unreachable()
    link.succeeded()
    link.failed(AWAY, now, most)
    assert link.due - now == 0.5


# -- this machine's addresses


@pytest.mark.parametrize(
    "before, now, moved",
    [
        (HOME, HOME, False),
        (HOME, ELSEWHERE, True),
        (NOWHERE, HOME, True),
        (HOME, NOWHERE, False),
        (NOWHERE, NOWHERE, False),
        (("10.0.0.7", None), ("10.0.0.7", "fd00::7"), True),
        (("10.0.0.7", "fd00::7"), ("10.0.0.7", None), False),
        (("10.0.0.7", "fd00::7"), ("fd00::7", "10.0.0.7"), False),
        (HOME, ("10.0.0.7", None), False),
    ],
)
def test_an_address_that_was_not_there_means_that_the_machine_has_moved(before, now, moved):
    assert has_moved(before, now) is moved


def test_another_address_ends_the_pause_and_makes_the_next_ones_short():
    """The network may be just coming up."""
    link, now = unreachable()
    link.note_addresses(HOME, now)
    assert link.due > now
    link.note_addresses(ELSEWHERE, now + 20)
    assert link.due == 0.0
    link.failed(AWAY, now + 20, most)
    assert link.due - now - 20 <= 30.0


def test_a_network_that_went_and_came_back_with_the_same_address_means_an_attempt():
    link, now = unreachable()
    for addresses in (HOME, NOWHERE):
        link.note_addresses(addresses, now)
        assert link.due > now
    link.note_addresses(HOME, now)
    assert link.due == 0.0


def test_a_change_during_an_attempt_is_noticed_right_after_it():
    link, now = unreachable()
    link.note_addresses(NOWHERE, now)
    link.failed(AWAY, now + 300, most)
    assert link.look_due == now + 300
    link.note_addresses(HOME, now + 300)
    assert link.due == 0.0


def test_addresses_from_before_the_outage_do_not_count():
    link, now = unreachable()
    link.note_addresses(HOME, now)
    link.succeeded()
    link.failed(AWAY, now, most)
    link.note_addresses(ELSEWHERE, now)
    assert link.due > now


def test_there_is_no_look_in_a_short_pause():
    link = Link()
    link.failed(AWAY, 0.0, most)
    assert link.look_due >= link.due


# -- the sender


def offline(bench):
    """Let a bench be offline for hours, with records waiting; return its attempts so far."""
    bench.chance = most
    bench.employ()
    bench.server.fault = refuse
    log(bench)
    bench.run(3 * HOUR)
    return len(bench.server.calls)


def looks_and_attempts(bench, seconds):
    looks, attempts = bench.server.looks, len(bench.server.calls)
    bench.run(seconds)
    return bench.server.looks - looks, len(bench.server.calls) - attempts


def test_offline_for_hours_the_sender_looks_every_20_seconds_and_tries_every_5_minutes(bench):
    offline(bench)
    looks, attempts = looks_and_attempts(bench, HOUR)
    assert 11 <= attempts <= 13
    assert HOUR / LOOK_SECONDS - 13 <= looks <= HOUR / LOOK_SECONDS + 13


@pytest.mark.parametrize("addresses", [ELSEWHERE, HOME + ("fd00::7",)])
def test_another_address_means_an_attempt_within_20_seconds(bench, addresses):
    offline(bench)
    bench.server.fault = None
    bench.server.addresses = addresses
    assert bench.drain() <= LOOK_SECONDS + 3
    assert bench.server.names() == NAMES


def test_a_network_that_comes_back_means_an_attempt_within_20_seconds(bench):
    bench.server.addresses = NOWHERE
    offline(bench)
    bench.server.fault = None
    bench.server.addresses = HOME
    assert bench.drain() <= LOOK_SECONDS + 3


def test_flush_and_a_new_session_mean_an_attempt_at_once(bench):
    """Both hurry the sender: see `process/engine`."""
    offline(bench)
    bench.server.fault = None
    bench.sender.hurry()
    assert bench.drain() <= 3


@pytest.mark.parametrize(
    "fault", [say(401, "no\n"), portal, never_answer, say(503, Retry_After=99)]
)
def test_nobody_looks_while_something_answers_or_may_have(bench, fault):
    bench.server.fault = fault
    log(bench)
    bench.run(HOUR)
    assert bench.server.looks == 0


def test_nobody_looks_while_nothing_waits(v1):
    """Heartbeats are tried, but no record would gain by that."""
    v1.chance = most
    v1.employ()
    v1.event(v1.entry, "one")
    v1.drain()
    v1.server.fault = refuse
    v1.run(3 * HOUR)
    assert v1.link.online is False and v1.server.looks == 0
    steps = v1.steps
    v1.run(HOUR)
    assert v1.steps - steps <= 2 * HOUR / 300 + 3


def test_in_a_pause_a_new_record_is_a_reason_to_wake_only_if_none_waits(v1):
    v1.chance = most
    v1.employ()
    v1.event(v1.entry, "one")
    v1.drain()
    assert v1.sender.listens(v1.world.now)
    v1.server.fault = refuse
    v1.run(3 * HOUR)
    assert v1.link.due > v1.world.now and v1.sender.listens(v1.world.now)
    log(v1)
    assert 0 < v1.step() <= LOOK_SECONDS and v1.server.looks == 1
    assert not v1.sender.listens(v1.world.now)
