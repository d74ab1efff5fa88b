"""The server goes away and comes back: nothing is lost, duplicated or reordered."""

from __future__ import absolute_import, division

import pytest
from tools import held
from tools.invariants import check_invariants
from tools.recorder import Recorder
from tools.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("timed_disks")


def whole_sessions(collector):
    """Return all sessions of a server, each in full."""
    return [collector.session(listed["id"]) for listed in collector.sessions()]


def log_mixed(recorder, count):
    """Log events, metrics and states in turn, and an exception at the end."""
    for number in range(count):
        recorder.log_event("step", {"number": number})
        recorder.log_metric("load", number / 3, tags=["app:tests"])
        recorder.update_state({"step": number, "parts": {"p%d" % (number % 3): number}})
    recorder.log_exception(ValueError("at the end"))


def test_an_outage_and_a_restart_lose_nothing_and_keep_the_order(
    any_own_collector, open_session, tmp_path
):
    accepted = str(tmp_path / "accepted.jsonl")
    session = open_session(any_own_collector.url)
    recorder = Recorder(session, accepted, "w")
    log_mixed(recorder, 10)
    session.flush(PATIENCE)
    any_own_collector.stop()
    log_mixed(recorder, 10)
    wait_until(lambda: session.stats()["online"] is False)
    log_mixed(recorder, 10)
    assert session.stats()["waiting"] > 31
    any_own_collector.start()
    wait_until(session.flush)
    session.end(PATIENCE)
    there = whole_sessions(any_own_collector)
    check_invariants([accepted], there)
    assert len(there) == 1 and held.is_ended(there[0])
    stats = session.stats()
    assert [stats[name] for name in ("waiting", "dead", "dropped", "merged")] == [0] * 4


def test_a_server_that_flaps_gets_everything_once_and_in_order(
    any_own_collector, open_session, tmp_path
):
    accepted = str(tmp_path / "accepted.jsonl")
    session = open_session(any_own_collector.url)
    recorder = Recorder(session, accepted, "w")
    for end in (any_own_collector.kill, any_own_collector.stop) * 2:
        log_mixed(recorder, 20)
        end()
        log_mixed(recorder, 5)
        any_own_collector.start()
    wait_until(session.flush)
    check_invariants([accepted], whole_sessions(any_own_collector))
    assert session.stats()["possibly_twice"] == 0


def test_a_session_opened_in_an_outage_is_opened_once(any_own_collector, open_session, tmp_path):
    accepted = str(tmp_path / "accepted.jsonl")
    any_own_collector.stop()
    sessions = [open_session(any_own_collector.url) for _ in range(2)]
    for index, session in enumerate(sessions):
        log_mixed(Recorder(session, accepted, "w%d" % index), 5)
        session.end()
    any_own_collector.start()
    for session in sessions:
        wait_until(session.flush)
    there = whole_sessions(any_own_collector)
    check_invariants([accepted], there)
    assert [held.is_ended(each) for each in there] == [True, True]


def test_a_server_that_lost_its_data_gets_the_session_again(make_collector, open_session):
    lost = make_collector().start()
    session = open_session(lost.url)
    session.update_state({"kept": {"a": 1}})
    session.log_event("lost with the server")
    session.flush(PATIENCE)
    old_id = session.session_id
    lost.stop()
    empty = make_collector()
    empty.port = lost.port
    empty.start()
    session.log_event("after")
    there = session.get_details(PATIENCE)
    assert session.session_id != old_id and there["id"] == session.session_id
    assert there["state"]["kept"] == {"a": 1}
    assert sorted(held.names(there)) == ["after", "session_reopened"]
    assert held.event(there, "session_reopened")["data"]["lost_session_id"] == old_id


def test_end_with_the_server_away_is_delivered_by_the_next_run(any_own_collector, run_program):
    any_own_collector.stop()
    first = run_program(
        u"import datacat\n"
        u"session = datacat.create_session()\n"
        u"session.log_event('offline')\n"
        u"session.end(%r)  # which does not wait so long\n" % (10 * PATIENCE),
        any_own_collector.url,
    )
    first.wait()
    any_own_collector.start()
    second = run_program(
        u"import datacat, sys\n"
        u"session = datacat.create_session()\n"
        u"session.log_event('online')\n"
        u"sys.stdin.readline()\n",
        any_own_collector.url,
    )
    wait_until(
        lambda: sum(bool(listed.get("ended_at")) for listed in any_own_collector.sessions()) == 1
    )
    second.kill()
    first_there = [each for each in whole_sessions(any_own_collector) if held.is_ended(each)]
    assert held.names(first_there[0]) == ["offline"]


def test_the_file_of_a_large_backlog_shrinks_by_itself_once_it_is_delivered(
    own_collector, open_session, spool
):
    own_collector.stop()
    session = open_session(own_collector.url)
    for _ in range(250):
        session.log_event("large", {"text": "x" * 30000})
    wait_until(lambda: _largest_outbox(spool) > 4000000)
    own_collector.start()
    wait_until(session.flush)
    wait_until(lambda: _largest_outbox(spool) < 1000000)


def _largest_outbox(spool):
    return max(one.stat().st_size for one in spool.iterdir() if one.suffix == ".outbox")
