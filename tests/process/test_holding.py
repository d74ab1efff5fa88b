"""Records that are held back: counted, told once a minute, and cheap; nothing else is."""

from __future__ import absolute_import, division

import functools
import gc
import logging
import os
import threading

import freezegun
import pytest
from inside import pipelines_of
from programs import IN_CHILD, UNHURRIED, whole_sessions
from tools import held
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat.integrations.logging import DatacatHandler
from datacat.process import holding
from datacat.records import flood, tracebacks

TOLD = "datacat_records_held_back"


@pytest.fixture
def open_one(collector, open_session):
    return functools.partial(open_session, collector.url)


def fail(session, *more):
    try:
        raise ValueError("always the same")
    except ValueError:
        session.log_exception(*more)


def everything(session):
    """Return the session's names of events, metrics and what was told, after a flush.

    Check that every record is accounted for: there is nothing but the end besides them.
    """
    there = session.get_details(PATIENCE)
    told = [event["data"] for event in there["events"] if event["name"] == TOLD]
    stats = session.stats()
    assert sum(each["count"] for each in told) == stats["held_back"]
    assert [stats[name] for name in ("waiting", "dead", "dropped", "merged")] == [0] * 4
    return held.names(there), [each["name"] for each in there["metrics"] or ()], told


def test_of_a_flood_of_equal_exceptions_60_a_minute_are_told(
    any_collector, open_session, monkeypatch
):
    formatted = []
    text = tracebacks.text
    monkeypatch.setattr(
        tracebacks, "text", lambda *arguments: formatted.append(1) or text(*arguments)
    )
    session = open_session(any_collector.url)
    for _ in range(3000):
        fail(session)
    session.log_event("behind")
    names, _, told = everything(session)
    assert names == ["exception"] * 60 + ["behind", TOLD]
    assert len(formatted) == 60, "an exception that is held back is not formatted"
    assert session.stats()["held_back"] == 2940
    (record,) = told[0]["records"]
    assert (record["kind"], record["type"], record["count"]) == ("exception", "ValueError", 2940)
    assert record["place"].endswith(" in fail") and "test_holding.py:" in record["place"]


def test_a_mixture_is_limited_by_kind_name_and_place_and_states_never(open_one):
    session = open_one(max_per_minute=3)
    for number in range(10):
        fail(session)
        session.log_event("a")
        session.log_event("b")
        session.log_metric("a", number)
        session.update_state({"number": number})
    try:
        int("x")
    except ValueError:
        session.log_exception()
    names, metrics, told = everything(session)
    assert sorted(names) == sorted(["exception", "a", "b"] * 3 + ["exception", TOLD])
    assert metrics == ["a"] * 3
    assert session.get_details(PATIENCE)["state"]["number"] == 9
    assert [each["count"] for each in told[0]["records"]] == [7] * 4
    assert session.stats()["held_back"] == 28


def test_limits_can_be_lifted(open_one):
    session = open_one(max_per_minute={"exception": None})
    for _ in range(70):
        fail(session)
    names, _, told = everything(session)
    assert names == ["exception"] * 70 and not told


def test_of_a_sample_each_record_is_kept_or_counted(open_one):
    session = open_one(sample={"moved": 0.5, "never": 0, "always": 1})
    for number in range(100):
        session.log_event("moved")
        session.log_metric("never", number)
        session.log_metric("always", number)
    names, metrics, told = everything(session)
    # By chance none or all are kept in one of 2**99 runs.
    kept = names.count("moved")
    assert 0 < kept < 100 and metrics == ["always"] * 100
    counts = dict((each["name"], each["count"]) for each in told[0]["records"])
    assert counts == {"moved": 100 - kept, "never": 100}


def test_a_mistake_is_refused_although_the_record_would_be_held_back(open_one):
    session = open_one(sample={"moved": 0})
    with pytest.raises(ValueError):
        session.log_event("moved", labels="no list")
    assert session.stats()["held_back"] == 0


def test_threads_lose_no_count(open_one):
    session = open_one(max_per_minute={"event": 100})

    def log():
        for _ in range(300):
            session.log_event("step")

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names, _, _ = everything(session)
    assert names.count("step") == 100 and session.stats()["held_back"] == 1100


def test_a_call_that_interrupts_a_decision_neither_waits_nor_is_held_back(open_one, monkeypatch):
    class Interrupted(object):
        def random(self):
            if not interrupted:
                interrupted.append(True)
                session.log_event("moved", {"from": "a signal handler"})
            return 1.0

    interrupted = []
    monkeypatch.setattr(holding.random, "Random", Interrupted)
    session = open_one(sample={"moved": 0.5})
    session.log_event("moved")
    names, _, _ = everything(session)
    assert names == ["moved", TOLD] and session.stats()["held_back"] == 1


def test_what_is_held_back_is_seen_by_nobody_and_before_record_sees_what_is_told(open_one):
    seen = []

    def before_record(kind, fields):
        seen.append(fields.get("name"))
        return fields

    session = open_one(before_record=before_record, max_per_minute=2, sample={"never": 0})
    for _ in range(5):
        fail(session)
        session.log_event("e")
        session.log_event("never")
    everything(session)
    assert seen == [None] + ["exception", "e"] * 2 + [TOLD]


def test_an_exception_that_is_seen_again_counts_there_and_what_it_brings_is_limited(open_one):
    session = open_one()
    for number in range(100):
        try:
            raise ValueError(number)
        except ValueError as error:
            session.log_exception(error)
            session.log_exception(error)
            session.log_exception(error, {"number": number})
    names, _, told = everything(session)
    assert names == ["exception", "exception_seen_again"] * 30 + [TOLD]
    stats = session.stats()
    assert stats["seen_again"] == 200 and stats["held_back"] == told[0]["count"] == 140


def test_log_records_with_equal_exceptions_are_limited_like_these(open_one):
    session = open_one()
    logger = logging.getLogger("flooding")
    handler = DatacatHandler(session)
    logger.addHandler(handler)
    try:
        for number in range(100):
            try:
                raise KeyError(number)
            except KeyError:
                logger.exception("failed %d times", number)
    finally:
        logger.removeHandler(handler)
    names, _, _ = everything(session)
    assert names == ["exception"] * 60 + [TOLD]


def test_frozen_time_makes_no_minute_longer_or_shorter(open_one):
    session = open_one()
    with freezegun.freeze_time("2020-02-02", auto_tick_seconds=15):
        for _ in range(100):
            fail(session)
    assert session.stats()["held_back"] == 40


def test_the_librarys_own_events_are_never_held_back(collector, open_session):
    names = ("application_appears_hung", "application_recovered", TOLD)
    session = open_session(
        collector.url, max_per_minute=1, sample=dict.fromkeys(names + ("moved",), 0)
    )
    session.start_heartbeat_monitor(timeout=0.1, check_interval=0.05)
    for times in (1, 2):
        await_events(collector, session, "application_appears_hung", times)
        session.heartbeat()
        await_events(collector, session, "application_recovered", times)
        session.log_event("moved")
        session.flush(PATIENCE)
        await_events(collector, session, TOLD, times)
    session.end(PATIENCE)
    assert held.is_ended(collector.session(session.session_id))


def await_events(collector, session, name, count):
    wait_until(lambda: held.names(collector.session(session.session_id)).count(name) == count)


def test_the_keeper_tells_when_a_minute_is_over(collector, open_session, monkeypatch):
    session = open_session(collector.url, product="kept", sample={"moved": 0})
    (pipeline,) = pipelines_of(product="kept")
    monkeypatch.setattr(flood, "MINUTE", 0.05)
    for times in (1, 2):
        # Both threads sleep, and nothing else will wake the keeper.
        wait_until(lambda: len(pipeline.sleepers) == 2)
        session.log_event("moved")
        await_events(collector, session, TOLD, times)
    assert session.stats()["held_back"] == 2


@pytest.mark.parametrize("way", ["end", "close"])
def test_what_is_untold_is_told_before_the_session_goes(way, collector, open_one):
    shown = []

    def before_record(kind, fields):
        shown.append(fields.get("name", kind))
        return fields

    session = open_one(sample={"moved": 0}, before_record=before_record)
    session.log_event("moved")
    getattr(session, way)(PATIENCE)
    there = collector.session(session.session_id)
    assert held.names(there) == [TOLD] and held.is_ended(there) == (way == "end")
    assert shown == ["open", TOLD] + ["end"] * (way == "end")


def test_a_pipeline_stays_open_for_what_is_untold(collector, open_session):
    ended, other = [
        open_session(collector.url, product="untold", sample={"moved": 0}) for _ in range(2)
    ]
    ended.end(PATIENCE)
    ended.log_event("moved")
    other.close(PATIENCE)
    assert pipelines_of(product="untold")
    ended.close(PATIENCE)
    assert held.names(collector.session(ended.session_id)) == [TOLD]
    wait_until(lambda: not pipelines_of(product="untold"))


def test_what_a_session_held_back_that_nobody_refers_to_any_more_is_told_at_once(collector, spool):
    session = datacat.create_session(
        collector.url, product="dropped", version="1", connect_wait=PATIENCE, sample={"moved": 0}
    )
    session_id = session.session_id
    session.log_event("moved")
    session.end(PATIENCE)
    session.log_event("moved")
    del session
    gc.collect()
    wait_until(lambda: held.names(collector.session(session_id)) == [TOLD] * 2)
    wait_until(lambda: not pipelines_of(product="dropped"))


def counts_told(collector):
    return sorted(
        event["data"]["count"]
        for each in whole_sessions(collector)
        for event in each["events"] or ()
        if event["name"] == TOLD
    )


def test_what_is_untold_at_exit_is_told(fresh_collector, run_program):
    """Also of a session that has ended."""
    run_program(
        UNHURRIED + u"""
sessions = [datacat.create_session(connect_wait=PATIENCE, sample={"moved": 0}) for _ in range(2)]
sessions[0].end(PATIENCE)
for session in sessions + sessions[1:]:
    session.log_event("moved")
""",
        fresh_collector.url,
    ).wait()
    assert counts_told(fresh_collector) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_counts_and_tells_its_own(fresh_collector, run_program):
    """Also if it has logged nothing but what was held back."""
    run_program(
        IN_CHILD.replace(u"connect_wait=PATIENCE", u'connect_wait=PATIENCE, sample={"moved": 0}')
        + u"""
def move(times):
    for _ in range(times):
        session.log_event("moved")

def exit():
    move(2)
    sys.exit(5)

def flush():
    assert session.stats()["held_back"] == 0
    move(3)
    assert session.stats()["held_back"] == 3
    assert session.flush(PATIENCE)
    os._exit(5)

move(5)
assert in_child(exit) == in_child(flush) == 5
assert session.stats()["held_back"] == 5
session.end(PATIENCE)
""",
        fresh_collector.url,
    ).wait()
    assert counts_told(fresh_collector) == [2, 3, 5]
