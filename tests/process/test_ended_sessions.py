"""A session that is over can still log; once it is no longer referenced, it is forgotten."""

from __future__ import absolute_import, division

import gc
import sys
import threading

import pytest
from inside import pipelines_of
from tools.waiting import PATIENCE, wait_until

import datacat

THREADS = 4
EVENTS = 150


def create_session(collector, product):
    """Return a session that no fixture refers to."""
    return datacat.create_session(
        collector.url, product=product, version="1", connect_wait=PATIENCE
    )


def names_of(collector, session):
    return [event["name"] for event in collector.session(session.session_id)["events"]]


@pytest.fixture
def ended(any_collector, open_session):
    """A session that is over, beside one that keeps its outbox open."""
    open_session(any_collector.url)
    session = open_session(any_collector.url)
    session.log_event("working")
    session.end(PATIENCE)
    return session


def test_last_words_are_delivered_and_counted(ended, any_collector):
    """Records logged after the end was delivered, twice, arrive in the same session."""
    assert ended.stats()["sent"] == 3
    for count, name in enumerate(["last", "very last"], 4):
        ended.log_event(name)
        assert ended.flush(PATIENCE)
        assert ended.stats()["sent"] == count
    assert names_of(any_collector, ended) == ["working", "last", "very last"]


def test_an_end_called_twice_is_sent_once(ended):
    ended.end(PATIENCE)
    assert ended.stats()["sent"] == 3


def test_a_session_that_was_closed_can_still_be_ended(any_collector, open_session):
    open_session(any_collector.url)
    session = open_session(any_collector.url)
    session.close(PATIENCE)
    assert not any_collector.session(session.session_id).get("ended_at")
    session.end(PATIENCE)
    assert any_collector.session(session.session_id)["ended_at"]


def let_disks_be_slow(is_slow):
    for pipeline in pipelines_of(product="tests"):
        if pipeline.outbox is not None:
            pipeline.outbox.disk.is_slow = is_slow


@pytest.mark.parametrize("is_slow", [False, True], ids=["disk well", "disk slow"])
def test_threads_that_log_while_the_outbox_closes_again_and_again_lose_nothing(
    any_collector, open_session, is_slow
):
    """Accepted means kept: a call that meets the close uses the outbox opened after it."""
    session = open_session(any_collector.url)
    logging, failures = [True], []

    def log(writer):
        for number in range(EVENTS):
            session.log_event("%s %d" % (writer, number))
        logging.pop()

    def close():
        while logging:
            try:
                let_disks_be_slow(is_slow)
                session.close(0)
            except Exception as failure:
                failures.append(failure)

    logging.extend([True] * (THREADS - 1))
    threads = [threading.Thread(target=log, args=("w%d" % number,)) for number in range(THREADS)]
    threads.append(threading.Thread(target=close))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    session.log_event("all the rest")
    assert session.flush(3 * PATIENCE)
    names = names_of(any_collector, session)
    for number in range(THREADS):
        writer = "w%d" % number
        assert sorted(name for name in names if name.startswith(writer + " ")) == sorted(
            "%s %d" % (writer, number) for number in range(EVENTS)
        )


def test_sessions_that_come_and_go_leave_nothing_behind(collector, open_session):
    """The outbox has only sessions that are in use or have work, however many there were."""
    lasting = open_session(collector.url, product="lasting")
    for _ in range(40):
        session = create_session(collector, "lasting")
        session.log_event("short")
        session.end(PATIENCE)
    del session
    (pipeline,) = pipelines_of(product="lasting")
    wait_until(lambda: list(pipeline.members) == [lasting.local_id])
    assert [entry.local_id for entry in pipeline.outbox.entries()] == [lasting.local_id]


def test_a_finalizer_in_the_same_garbage_may_still_log(collector, open_session):
    """Weak references are cleared before the finalizers of the same garbage run."""
    lasting = open_session(collector.url)

    class Window(object):
        def __init__(self):
            self.session = create_session(collector, "tests")
            self.session.end(PATIENCE)
            self.itself = self

        def __del__(self):
            ids.append(self.session.session_id)
            self.session.log_event("closing")

    ids = []
    Window()
    gc.collect()
    if sys.version_info < (3, 4):
        gc.garbage.pop().__del__()  # Python 2 never finalizes what is in a cycle
    lasting.log_event("another")
    wait_until(
        lambda: [event["name"] for event in collector.session(ids[0])["events"]] == ["closing"]
    )


@pytest.mark.parametrize("way, is_kept", [("end", False), ("close", False), ("flush", True)])
def test_an_unreferenced_session_is_forgotten_once_it_is_over(
    collector, open_session, way, is_kept
):
    """Memory grows with sessions that may still be used, not with past ones."""
    product = "lasting, " + way
    lasting = open_session(collector.url, product=product)
    local_ids = []
    for each in (way, "end"):
        session = create_session(collector, product)
        getattr(session, each)(PATIENCE)
        local_ids.append(session.local_id)
        del session
    (pipeline,) = pipelines_of(product=product)
    # Whoever came later is not forgotten earlier.
    wait_until(lambda: local_ids[1] not in pipeline.members)
    wait_until(lambda: is_kept or local_ids[0] not in pipeline.members)
    assert (local_ids[0] in pipeline.members) == is_kept
    assert lasting.session_id != lasting.local_id
