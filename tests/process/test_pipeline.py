"""What several sessions share, what they do not, and how long its calls may take."""

from __future__ import absolute_import, division

import os
import threading
import time

import pytest
from inside import pipelines_of, threads
from programs import whole_sessions, with_event
from tools import held
from tools.invariants import check_invariants
from tools.outboxes import left_in
from tools.recorder import Recorder
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat._compat import monotonic
from datacat.process import engine
from datacat.process.engine import Progress
from datacat.wire import backoff

A_PORT_NOBODY_LISTENS_ON = "http://127.0.0.1:9"


# What lasts as long as a request without an answer hangs.
ENDLESS = {"timeout": 2 * PATIENCE, "deadline": 2 * PATIENCE}


def took(call):
    """Return how many seconds a call took."""
    began = monotonic()
    call()
    return monotonic() - began


def test_a_disabled_session_accepts_everything_and_does_nothing(monkeypatch, spool, open_session):
    monkeypatch.setenv("DATACAT_DISABLED", "1")
    before = threads()
    with open_session(A_PORT_NOBODY_LISTENS_ON) as session:
        session.log_event("e", {"x": 1}, category="c")
        session.log_metric("m", 1)
        session.update_state({"a": 1})
        session.log_exception(extra_data={})
        session.start_heartbeat_monitor(timeout=60)
        session.heartbeat()
        session.pause_heartbeat_monitoring()
        session.resume_heartbeat_monitoring()
        session.stop_heartbeat_monitor()
        assert session.flush(PATIENCE) is True
        assert session.get_details(PATIENCE) == {}
        assert session.client.create_session() and session.client.get_all_sessions() == []
    session.close(PATIENCE)
    assert session.session_id and session.local_id
    assert not threads() - before
    assert not os.path.exists(str(spool))


def test_a_disabled_sessions_stats_have_the_same_names(monkeypatch, open_session):
    enabled = open_session(A_PORT_NOBODY_LISTENS_ON, connect_wait=0).stats()
    monkeypatch.setenv("DATACAT_DISABLED", "true")
    disabled = open_session(A_PORT_NOBODY_LISTENS_ON).stats()
    assert set(enabled) == set(disabled)
    assert disabled["waiting"] == disabled["sent"] == 0


def test_the_options_may_come_from_the_environment(make_collector, monkeypatch, tmp_path):
    collector = make_collector(api_key="sesame").start()
    for name, value in (
        ("URL", collector.url),
        ("API_KEY", "sesame"),
        ("PRODUCT", "editor"),
        ("VERSION", "7"),
        ("SPOOL_DIR", str(tmp_path / "elsewhere")),
    ):
        monkeypatch.setenv("DATACAT_" + name, value)
    session = datacat.create_session()
    try:
        state = session.get_details(PATIENCE)["state"]
        assert (state["product"], state["version"]) == ("editor", "7")
        assert (
            len(
                [
                    name
                    for name in os.listdir(str(tmp_path / "elsewhere"))
                    if name.endswith(".outbox")
                ]
            )
            == 1
        )
    finally:
        session.close(PATIENCE)


def test_two_sessions_and_eight_threads_at_once_keep_every_threads_order(
    any_fresh_collector, open_session, tmp_path
):
    accepted = str(tmp_path / "accepted.jsonl")
    sessions = [open_session(any_fresh_collector.url) for _ in range(2)]
    recorders = [Recorder(sessions[index % 2], accepted, "t%d" % index) for index in range(8)]

    def log(recorder):
        for number in range(25):
            recorder.log_event("step", {"number": number})
            if number % 5 == 0:
                recorder.log_metric("load", number)

    loggers = [threading.Thread(target=log, args=(each,)) for each in recorders]
    for logger in loggers:
        logger.start()
    for logger in loggers:
        logger.join()
    for session in sessions:
        assert session.flush(PATIENCE)
    there = [any_fresh_collector.session(session.session_id) for session in sessions]
    assert check_invariants([accepted], there).accepted == 8 * 30
    assert [len(each["events"]) for each in there] == [100, 100]


def test_sessions_of_the_same_settings_share_an_outbox_and_two_keys_do_not(
    make_collector, open_session, spool
):
    collector = make_collector().start()
    sessions = [open_session(collector.url, api_key=key) for key in ("one", "one", "two")]
    files = [name for name in os.listdir(str(spool)) if name.endswith(".outbox")]
    assert len(files) == 2
    sessions[0].close()
    sessions[2].close()
    sessions[1].log_event("e")
    assert held.names(sessions[1].get_details(PATIENCE)) == ["e"]


def test_each_key_sends_with_its_own_key_only(make_collector, open_session):
    collector = make_collector(api_key="right").start()
    right = open_session(collector.url, api_key="right")
    with pytest.raises(datacat.NotAuthorized):
        open_session(collector.url, api_key="wrong")
    right.log_event("e")
    assert held.names(right.get_details(PATIENCE)) == ["e"]


def test_before_record_sees_changes_and_drops_records(collector, open_session):
    seen = []

    def before_record(kind, fields):
        seen.append(kind)
        if fields.get("name") == "secret":
            return None
        if fields.get("name") == "user":
            fields["data"] = {"name": "***"}
        return fields

    session = open_session(collector.url, before_record=before_record)
    session.log_event("secret", {"password": "x"})
    session.log_event("user", {"name": "alice"})
    session.log_metric("m", 1)
    session.update_state({"a": 1})
    session.log_exception()
    there = session.get_details(PATIENCE)
    assert held.names(there) == ["user", "exception"]
    assert there["events"][0]["data"] == {"name": "***"}
    assert seen == ["open", "event", "event", "metric", "state", "exception"]
    session.end()
    assert seen[6:] == ["end"]


def test_before_record_sees_the_hang_that_the_library_reports_of_its_own_session(
    collector, open_session
):
    """Of two sessions that share all else, each has its own."""

    def without_stacks(writer):
        def before_record(kind, fields):
            if fields.get("name") == "application_appears_hung":
                fields["data"]["stacks"] = writer
            return fields

        return before_record

    sessions = [
        open_session(collector.url, product="shared", before_record=without_stacks(writer))
        for writer in ("one", "two")
    ]
    assert len(pipelines_of(product="shared")) == 1
    for session in sessions:
        session.start_heartbeat_monitor(timeout=0.2, check_interval=0.1)
    for session, writer in zip(sessions, ("one", "two")):
        wait_until(lambda: held.names(session.get_details(PATIENCE)))  # noqa: B023
        hang = held.event(session.get_details(PATIENCE), "application_appears_hung")
        assert hang["data"]["stacks"] == writer


def raises(kind, fields):
    raise ValueError("broken")


def returns_a_text(kind, fields):
    return "text"


@pytest.mark.parametrize("broken", [raises, returns_a_text])
def test_a_failing_before_record_lets_nothing_through_with_one_warning(
    broken, collector, open_session, caplog
):
    session = open_session(collector.url, before_record=broken)
    session.log_event("secret", {"password": "x"})
    session.log_event("secret", {"password": "x"})
    assert held.names(session.get_details(PATIENCE)) == []
    assert caplog.text.count("the event is dropped") == 1
    assert caplog.text.count("before_record") == 2  # the open, and the events


def test_stats_count_what_became_of_the_records(own_collector, open_session):
    session = open_session(own_collector.url)
    session.log_event("e")
    session.flush(PATIENCE)
    stats = session.stats()
    began = time.time()
    assert (stats["sent"], stats["waiting"], stats["in_memory"]) == (2, 0, 0)
    assert (stats["online"], stats["dialect"], stats["oldest_age"]) == (True, "v1", None)
    own_collector.stop()
    session.log_event("f")
    wait_until(lambda: session.stats()["online"] is False)
    stats = session.stats()
    assert (stats["sent"], stats["waiting"]) == (2, 1)
    assert 0 <= stats["oldest_age"] <= time.time() - began
    assert own_collector.url.split("/")[2] in stats["last_error"]


@pytest.mark.parametrize("name", ["flush", "end", "close"])
def test_calls_that_wait_keep_their_timeouts_in_a_black_hole(
    name, collector, open_session, before
):
    proxy = before(collector)
    session = open_session(proxy.url, **ENDLESS)
    session.flush(PATIENCE)
    proxy.black_hole()
    session.log_event("e")
    assert 1 <= took(lambda: getattr(session, name)(timeout=1)) < PATIENCE


@pytest.mark.parametrize("name", ["flush", "end", "close"])
def test_calls_that_wait_do_not_wait_for_a_server_that_is_away(name, open_session):
    session = open_session(A_PORT_NOBODY_LISTENS_ON)
    session.log_event("e")
    assert session.stats()["online"] is False
    assert took(lambda: getattr(session, name)(timeout=2 * PATIENCE)) < PATIENCE


@pytest.mark.parametrize("means", ["flush", "a new session", "one that does not wait"])
def test_flush_and_a_new_session_try_a_server_at_once_that_was_away_for_long(
    means, own_collector, open_session, monkeypatch
):
    """However long the pause is by then."""
    monkeypatch.setattr(backoff, "backoff", lambda *_: 100 * PATIENCE)
    monkeypatch.setattr(engine, "NEW_SESSION_SECONDS", 0.0)
    own_collector.stop()
    session = open_session(own_collector.url)
    wait_until(lambda: session.stats()["online"] is False)
    own_collector.start()
    if means == "flush":
        session.flush(PATIENCE)
    else:
        open_session(own_collector.url, connect_wait=PATIENCE if means == "a new session" else 0)
    wait_until(lambda: session.stats()["waiting"] == 0)


def test_opening_many_sessions_makes_an_attempt_a_second_at_most(open_session, monkeypatch):
    """While the server is away."""
    monkeypatch.setattr(backoff, "backoff", lambda *_: 100 * PATIENCE)
    monkeypatch.setattr(engine, "NEW_SESSION_SECONDS", PATIENCE)
    first = open_session(A_PORT_NOBODY_LISTENS_ON)
    wait_until(lambda: first.stats()["online"] is False)
    (pipeline,) = pipelines_of(base_url=A_PORT_NOBODY_LISTENS_ON)
    for _ in range(5):
        open_session(A_PORT_NOBODY_LISTENS_ON)
    assert pipeline.engine.sender.server.link.failures == 1


CHANGES_FOLDER = u"""
import datacat, logging, os, sys
logging.basicConfig(stream=sys.stdout, format="LOGGED %(message)s")
os.mkdir("one"), os.mkdir("two")
os.chdir("one")
session = datacat.create_session(connect_wait=0)
session.log_event("before")
os.chdir(os.path.join("..", "two"))
session.log_event("after")
assert session.flush(60)
session.close()
session.log_event("last")
session.end(60)
print("made %s and %s" % (os.listdir("../one"), os.listdir(".")))
"""


def test_an_application_that_changes_its_working_directory_keeps_its_relative_folder(
    fresh_collector, run_program
):
    program = run_program(CHANGES_FOLDER, fresh_collector.url, DATACAT_SPOOL_DIR="spool")
    program.wait()
    assert "LOGGED" not in program.output
    assert "made ['spool'] and []" in program.output
    (session,) = whole_sessions(fresh_collector)
    assert held.names(session) == ["before", "after", "last"]


def test_a_session_closed_while_a_request_hangs_can_be_used_again(collector, open_session, before):
    proxy = before(collector)
    session = open_session(proxy.url, timeout=2)
    session.flush(PATIENCE)
    proxy.black_hole()
    session.log_event("step", {"number": 0})
    session.close(timeout=0.2)
    session.log_event("step", {"number": 1})
    proxy.heal()
    wait_until(session.flush)
    assert held.numbers(session.get_details(PATIENCE)) == [0, 1]


@pytest.mark.parametrize("seconds", [0.4, 0])
def test_opening_waits_no_longer_than_connect_wait(
    seconds, collector, open_session, before, monkeypatch
):
    proxy, waits, wait = before(collector), [], Progress.wait
    proxy.black_hole()

    def noted(progress, most, is_over):
        waits.append(most)
        wait(progress, most, is_over)

    monkeypatch.setattr(Progress, "wait", noted)
    options = dict(ENDLESS, connect_wait=seconds)
    assert seconds <= took(lambda: open_session(proxy.url, **options)) < PATIENCE
    assert waits == [seconds]


def test_if_the_folder_is_unusable_records_wait_in_memory_with_one_warning(
    any_collector, open_session, tmp_path, caplog
):
    (tmp_path / "a file").write_text(u"not a folder")
    session = open_session(any_collector.url, spool_dir=str(tmp_path / "a file" / "spool"))
    session.log_event("step", {"number": 0})
    there = session.get_details(PATIENCE)
    assert held.numbers(there) == [0]
    assert caplog.text.count("memory only") == 1


def test_a_process_without_a_file_delivers_what_dead_processes_left(
    make_collector, open_session, run_program, spool
):
    """The folder was unusable when it started, and is not any more."""
    collector = make_collector().start()
    collector.stop()
    spool.write_text(u"not a folder")
    session = open_session(collector.url, connect_wait=0)
    assert session.stats()["in_memory"] == 1
    os.remove(str(spool))
    program = run_program(
        u"import datacat, os\n"
        u"datacat.create_session(connect_wait=0).log_event('left')\n"
        u"os._exit(0)\n",
        collector.url,
    )
    program.wait()
    collector.start()
    wait_until(lambda: with_event(collector, "left"))


def test_what_waits_in_memory_is_counted_and_delivered_in_order(
    make_collector, open_session, tmp_path
):
    collector = make_collector().start()
    collector.stop()
    (tmp_path / "a file").write_text(u"not a folder")
    session = open_session(collector.url, spool_dir=str(tmp_path / "a file" / "spool"))
    for number in range(5):
        session.log_event("step", {"number": number})
    assert session.stats()["in_memory"] == session.stats()["waiting"] == 6
    collector.start()
    wait_until(session.flush)
    assert held.numbers(session.get_details(PATIENCE)) == list(range(5))
    assert session.stats()["in_memory"] == 0


def test_closing_the_last_session_ends_the_threads_and_removes_the_file(
    collector, open_session, spool
):
    before = threads()
    first, second = open_session(collector.url), open_session(collector.url)
    first.log_event("e")
    second.end(PATIENCE)
    assert len(threads() - before) == 2
    first.close(PATIENCE)
    wait_until(lambda: not threads() - before)
    wait_until(lambda: left_in(spool) == [])
