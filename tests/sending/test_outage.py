"""Promises about what is said of an outage: once when it begins, once when it is over."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import refuse, say
from tools.sending import log

from datacat.sending.outage import Outage

# -- when it is over


def test_an_outage_is_over_when_the_server_has_been_back_for_a_minute():
    outage = Outage()
    outage.failed()
    assert outage.due is None
    outage.succeeded(10.0)
    assert outage.due == 70.0
    outage.succeeded(30.0)
    assert outage.due == 70.0


def test_a_failure_within_that_minute_begins_it_anew():
    outage = Outage()
    outage.failed()
    outage.succeeded(10.0)
    outage.failed()
    assert outage.due is None
    outage.succeeded(60.0)
    assert outage.due == 120.0


def test_without_a_failure_there_is_no_outage():
    outage = Outage()
    outage.succeeded(10.0)
    assert outage.due is None and not outage.is_on


def test_what_is_sent_before_an_outage_and_after_it_does_not_count():
    outage = Outage()
    outage.count(5)
    outage.failed()
    outage.count(1)
    outage.succeeded(1.0)
    outage.failed()
    outage.count(2)
    assert outage.end() == 3
    assert outage.due is None and not outage.is_on
    outage.count(7)
    outage.failed()
    assert outage.end() == 0


# -- what is said


FAULTS = [(refuse, "away"), (say(503, "busy"), "away"), (say(401, "Unauthorized\n"), "refused")]


def flap(bench, fault, times=38):
    """Let every other request for a record meet a fault, one record in four seconds."""
    for _ in range(times):
        bench.server.fault = fault
        log(bench, ["x"])
        bench.run(1)
        bench.server.fault = None
        bench.sender.hurry()
        bench.run(3)


@pytest.mark.parametrize("fault, topic", FAULTS)
def test_a_link_that_flaps_for_minutes_is_warned_of_once(bench, fault, topic):
    flap(bench, fault)
    assert [about for about, _ in bench.warnings.said] == [topic]


@pytest.mark.parametrize("fault, topic", FAULTS)
def test_once_it_has_been_back_for_a_minute_one_message_says_how_many_were_sent(
    bench, fault, topic
):
    log(bench, ["before"] * 3)
    bench.drain()
    flap(bench, fault)
    bench.run(300)
    assert [about for about, _ in bench.warnings.said] == [topic, "back"]
    (message,) = bench.warnings.about("back")
    assert "minute" in message and " 38 records" in message


def test_the_next_outage_after_that_is_warned_of_again(bench):
    for _ in range(2):
        flap(bench, refuse, 3)
        bench.run(61)
    assert [about for about, _ in bench.warnings.said] == ["away", "back"] * 2


def test_a_server_that_refuses_while_it_flaps_is_warned_of_for_both(bench):
    flap(bench, refuse, 3)
    flap(bench, say(401, "Unauthorized\n"), 3)
    flap(bench, refuse, 3)
    bench.run(61)
    assert [about for about, _ in bench.warnings.said] == ["away", "refused", "back"]


def test_an_idle_sender_wakes_once_for_the_message_and_then_rests(classic):
    classic.server.fault = refuse
    log(classic, ["x"])
    classic.run(1)
    classic.server.fault = None
    classic.sender.hurry()
    classic.drain()
    steps, pause = 0, 0.0
    while pause is not None:
        classic.world.pass_(pause)
        pause = classic.step()
        steps += pause != 0.0
        assert pause is None or pause <= 60.0
    assert steps == 2 and len(classic.warnings.about("back")) == 1


def test_a_later_sender_warns_of_an_outage_though_an_earlier_one_was_closed_in_the_middle(bench):
    """As after close() in an outage, and a new session when the server was back."""
    bench.server.fault = refuse
    log(bench, ["x"])
    bench.run(1)
    bench.server.fault = None
    bench.employ()
    bench.drain()
    bench.server.fault = refuse
    log(bench, ["x"])
    bench.run(1)
    assert len(bench.warnings.about("away")) == 2
