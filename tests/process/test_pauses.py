"""Promises of `pause_sending`: nothing leaves, nothing is lost, and nobody waits."""

from __future__ import absolute_import, division

import threading

import pytest
from tools.swallowing import Swallowing
from tools.waiting import PATIENCE, wait_until

import datacat

# A call that waits at all takes longer than any test.
FOR_EVER = 10 * PATIENCE


@pytest.fixture
def paused(fresh_collector, open_session):
    """A session that the server knows, and that is paused."""
    session = open_session(fresh_collector.url)
    session.flush(PATIENCE)
    session.pause_sending()
    yield session
    session.resume_sending()


def names(details):
    return [event["name"] for event in details["events"]]


def test_nothing_is_sent_until_it_is_resumed_and_then_all_once(paused, fresh_collector):
    for number in range(5):
        paused.log_event("%d" % number)
    assert paused.flush(FOR_EVER) is False
    assert paused.stats()["waiting"] == 5
    there = fresh_collector.session(paused.session_id)
    assert names(there) == []
    paused.resume_sending()
    assert paused.flush(PATIENCE) is True
    there = fresh_collector.session(paused.session_id)
    assert names(there) == ["0", "1", "2", "3", "4"]


def test_flush_returns_true_while_nothing_waits(paused):
    assert paused.flush(FOR_EVER) is True


def test_a_session_that_waits_says_why(paused):
    paused.log_event("e")
    with pytest.raises(datacat.NotDelivered) as caught:
        paused.get_details(FOR_EVER)
    assert "paused" in str(caught.value)
    assert "paused" in paused.stats()["last_error"]


def test_end_and_close_do_not_wait(paused):
    paused.log_event("e")
    paused.end(FOR_EVER)
    paused.close(FOR_EVER)
    assert paused.stats()["waiting"] == 2


def test_it_holds_for_all_sessions_with_the_same_options(paused, open_session):
    other = open_session(paused.client.settings.base_url, version="2", connect_wait=FOR_EVER)
    assert other.session_id == other.local_id
    assert other.flush(FOR_EVER) is False
    other.resume_sending()
    assert other.flush(PATIENCE) is True and paused.flush(PATIENCE) is True


def test_other_options_are_not_concerned(paused, open_session):
    other = open_session(paused.client.settings.base_url, timeout=9.0)
    other.log_event("e")
    assert other.flush(PATIENCE) is True


def test_it_outlives_the_last_session(paused, open_session):
    paused.close(FOR_EVER)
    later = open_session(paused.client.settings.base_url, connect_wait=FOR_EVER)
    assert later.flush(FOR_EVER) is False


def test_a_pause_ends_a_wait_that_has_begun(spool, open_session):
    answers = []
    with Swallowing() as server:
        session = open_session(server.url, connect_wait=0, timeout=FOR_EVER, deadline=FOR_EVER)
        waiting = threading.Thread(target=lambda: answers.append(session.flush(FOR_EVER)))
        waiting.start()
        session.pause_sending()
        waiting.join(PATIENCE)
        assert answers == [False]
        session.resume_sending()


def test_a_paused_program_exits_and_the_next_run_sends_what_it_kept(
    fresh_collector, run_program, open_session
):
    program = run_program(
        u"import datacat\n"
        u"session = datacat.create_session(connect_wait=60)\n"
        u"session.pause_sending()\n"
        u"for number in range(3):\n"
        u"    session.log_event(str(number))\n",
        fresh_collector.url,
    )
    program.wait()
    (there,) = fresh_collector.sessions()
    assert names(fresh_collector.session(there["id"])) == [] and there["active"]
    open_session(fresh_collector.url)
    wait_until(lambda: not fresh_collector.session(there["id"])["active"])
    assert names(fresh_collector.session(there["id"])) == ["0", "1", "2"]


def test_it_may_be_resumed_without_a_pause(fresh_collector, open_session):
    session = open_session(fresh_collector.url)
    session.resume_sending()
    session.log_event("e")
    assert session.flush(PATIENCE) is True
