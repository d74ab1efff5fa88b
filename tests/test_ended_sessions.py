"""A session that is over is forgotten, so that a process may open any number; it can still log."""
from __future__ import absolute_import, division

import threading

import pytest
from tools.waiting import wait_until

import datacat

THREADS = 4
EVENTS = 150


def outbox_of(session):
    return session._pipeline._outbox


def is_forgotten(session):
    return all(entry.local_id != session.local_id for entry in outbox_of(session).entries())


def names_of(collector, session):
    return [event["name"] for event in collector.session(session.session_id)["events"]]


@pytest.fixture
def ended(any_collector, open_session):
    """A session that is over, beside one that keeps its outbox open."""
    open_session(any_collector.url)
    session = open_session(any_collector.url)
    session.log_event("working")
    session.end()
    wait_until(lambda: is_forgotten(session))
    return session


def test_what_is_known_of_an_ended_session_stays_known(ended):
    """Its ids and its counts outlive its place in the outbox."""
    assert not ended.session_id.startswith("local-")
    stats = ended.stats()
    assert (stats["sent"], stats["waiting"], stats["oldest_age"]) == (3, 0, None)
    assert ended.flush(0)
    assert is_forgotten(ended), "nobody logged"


def test_last_words_are_delivered_and_counted_on(ended, any_collector):
    """Logged after the end was delivered, twice over, each arrives in the same session."""
    for count, name in enumerate(["last", "very last"], 4):
        ended.log_event(name)
        assert ended.flush(10)
        assert ended.stats()["sent"] == count
        wait_until(lambda: is_forgotten(ended))
    assert names_of(any_collector, ended) == ["working", "last", "very last"]


def test_an_end_that_is_said_again_is_sent_once(ended):
    ended.end()
    assert ended.stats()["sent"] == 3 and is_forgotten(ended)


def test_a_session_that_was_closed_can_still_be_ended(any_collector, open_session):
    """Closed it is over as well, for this process; its end reaches the server all the same."""
    open_session(any_collector.url)
    session = open_session(any_collector.url)
    session.close()
    assert not any_collector.session(session.session_id).get("ended_at")
    outbox_of(session).forget_if_over(session._pipeline._places[session.local_id].number)
    assert is_forgotten(session)
    session.end()
    assert any_collector.session(session.session_id)["ended_at"]


def test_threads_that_log_while_it_is_forgotten_again_and_again_lose_nothing(
        ended, any_collector):
    """Accepted means kept: a call that meets the forgetting goes on in a new place, in order."""
    def log(writer):
        for number in range(EVENTS):
            ended.log_event("%s %d" % (writer, number))
            outbox_of(ended).forget_if_over(ended._pipeline._places[ended.local_id].number)

    threads = [threading.Thread(target=log, args=("w%d" % number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended.flush(30)
    names = names_of(any_collector, ended)[1:]
    for number in range(THREADS):
        writer = "w%d" % number
        assert [name for name in names if name.startswith(writer + " ")] == [
            "%s %d" % (writer, number) for number in range(EVENTS)]
    assert ended.stats()["sent"] == 3 + THREADS * EVENTS


def test_sessions_that_come_and_go_leave_nothing_behind(collector, open_session):
    """The outbox holds what has work, however many sessions there were."""
    lasting = open_session(collector.url)
    for _ in range(40):
        session = open_session(collector.url)
        session.log_event("short")
        session.end()
    wait_until(lambda: len(outbox_of(lasting).entries()) == 1)
    assert lasting._pipeline._outbox._disk.store.entries()[0].local_id == lasting.local_id


@pytest.mark.parametrize("way, is_kept", [("end", False), ("close", False), ("flush", True)])
def test_what_nobody_holds_is_not_remembered_once_it_is_over(
        collector, open_session, way, is_kept):
    """Memory does not grow with the sessions that were, but with those that somebody may use."""
    lasting = open_session(collector.url)
    session = datacat.create_session(collector.url, product="tests", version="1")
    getattr(session, way)()
    local_id, line = session.local_id, session._pipeline
    del session
    lasting.log_event("what lets the sender look")
    assert lasting.flush()
    wait_until(lambda: (local_id in line._origins) == is_kept)
    assert lasting.session_id != lasting.local_id and lasting.stats()["sent"] == 2
