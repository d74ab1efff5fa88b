"""Promises of `recording` and `set_recording`: what no user has consented to leaves no trace."""

from __future__ import absolute_import, division

import os
import threading

import pytest
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat.process import recording
from datacat.records import kinds

FOR_EVER = 10 * PATIENCE


def names(details):
    return [event["name"] for event in details["events"]]


def delivered(session):
    """Return the names of the session's events on the server."""
    return names(session.get_details(PATIENCE))


def files(spool):
    return sorted(os.listdir(str(spool))) if os.path.isdir(str(spool)) else []


def outboxes(spool):
    return [name for name in files(spool) if name.endswith(".outbox")]


def use_all(session):
    """Make every call of a session that could record or send."""
    session.log_event("e", {"x": 1})
    session.log_event("")
    session.log_metric("m", 1)
    session.update_state({"a": 1})
    session.log_exception(ValueError("v"))
    session.start_heartbeat_monitor(timeout=60)
    session.heartbeat()
    session.add_heartbeat_monitor("loop").heartbeat()
    session.log_gauge("g", 1)
    session.log_counter("c")
    session.log_histogram("h", 1)
    with session.timer("t"):
        pass
    assert session.enable_faulthandler() is False
    session.pause_sending()
    session.resume_sending()
    with session.install_exception_hooks():
        pass
    assert session.flush(FOR_EVER) is True
    assert session.get_details(FOR_EVER) == {}
    assert session.stats() == datacat.create_session(disabled=True).stats()
    assert session.client.settings.disabled
    session.end(FOR_EVER)
    session.close(FOR_EVER)


def test_while_it_is_off_there_is_no_file_no_thread_and_no_request(
    fresh_collector, open_session, spool
):
    threads = threading.active_count()
    seen = []
    session = open_session(
        fresh_collector.url, recording=False, before_record=lambda kind, fields: seen.append(kind)
    )
    use_all(session)
    assert session.is_online is None and session.session_id == session.local_id
    assert threading.active_count() == threads
    assert not spool.exists() and fresh_collector.sessions() == [] and seen == []


def test_turned_on_it_is_a_session_from_then_on(any_fresh_collector, open_session):
    session = open_session(any_fresh_collector.url, recording=False)
    session.log_event("before")
    session.start_heartbeat_monitor(timeout=60)
    assert session.set_recording(True) is True
    session.heartbeat()
    session.log_event("after")
    assert delivered(session) == ["after"]
    assert [each["id"] for each in any_fresh_collector.sessions()] == [session.session_id]


def test_turned_off_it_records_nothing_more_and_sends_nothing(
    fresh_collector, open_session, spool
):
    session = open_session(fresh_collector.url)
    session.log_event("sent")
    session.flush(PATIENCE)
    session.pause_sending()
    session.log_event("kept")
    session.set_recording(False)
    session.resume_sending()
    before = files(spool)
    session.log_event("never")
    assert session.flush(FOR_EVER) is False and session.get_details() == {}
    assert files(spool) == before and len(outboxes(spool)) == 1
    (there,) = fresh_collector.sessions()
    assert names(fresh_collector.session(there["id"])) == ["sent"] and there["active"]


def test_what_was_kept_is_sent_when_it_is_on_again_and_both_sessions_end_properly(
    any_fresh_collector, open_session
):
    session = open_session(any_fresh_collector.url)
    first = session.local_id, session.session_id
    session.pause_sending()
    session.log_event("kept")
    session.set_recording(False)
    session.log_event("never")
    session.resume_sending()
    session.set_recording(True)
    session.log_event("again")
    assert delivered(session) == ["again"]
    assert session.local_id != first[0] and session.session_id != first[1]
    wait_until(lambda: not any_fresh_collector.session(first[1])["active"])
    assert names(any_fresh_collector.session(first[1])) == ["kept"]
    session.end(PATIENCE)
    assert not any_fresh_collector.session(session.session_id)["active"]
    assert len(any_fresh_collector.sessions()) == 2


def test_an_exception_seen_while_it_is_off_is_told_when_it_is_on(fresh_collector, open_session):
    session = open_session(fresh_collector.url, recording=False)
    error = ValueError("v")
    hooks = session.install_exception_hooks()
    session.log_exception(error)
    session.set_recording(True)
    session.log_exception(error)
    hooks.uninstall()
    assert delivered(session) == ["exception"]


def test_heartbeats_are_watched_again_when_it_is_on_again(fresh_collector, open_session):
    session = open_session(fresh_collector.url)
    session.start_heartbeat_monitor(timeout=0.05)
    session.set_recording(False)
    session.heartbeat()
    session.set_recording(True)
    wait_until(lambda: "application_appears_hung" in delivered(session))


def test_other_sessions_of_the_pipeline_go_on(fresh_collector, open_session):
    session, other = (open_session(fresh_collector.url, version=each) for each in "12")
    session.set_recording(False)
    session.log_event("never")
    other.log_event("e")
    assert delivered(other) == ["e"]
    assert names(fresh_collector.session(session.session_id)) == []


def test_calls_of_other_threads_leave_nothing_once_it_is_off(fresh_collector, open_session, spool):
    session = open_session(fresh_collector.url)
    is_over = threading.Event()

    def log():
        while not is_over.wait(0.001):
            session.log_event("e")

    threads = [threading.Thread(target=log) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            session.set_recording(True)
            session.set_recording(False, forget=True)
        session.set_recording(False, forget=True)
        assert outboxes(spool) == []
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert files(spool) == []


def test_forgetting_deletes_all_that_is_kept_of_this_server_and_product(
    fresh_collector, open_session, spool, run_program
):
    killed = run_program(
        u"import datacat, os\n"
        u"session = datacat.create_session(connect_wait=60)\n"
        u"session.pause_sending()\n"
        u"session.log_event('of a killed run')\n"
        u"os._exit(0)\n",
        fresh_collector.url,
    )
    killed.wait()
    foreign = open_session(fresh_collector.url, product="another")
    foreign.pause_sending()
    foreign.log_event("kept")
    session = open_session(fresh_collector.url, recording=False)
    (kept,) = [name for name in outboxes(spool) if has_owner(spool, name)]
    open(os.path.join(str(spool), outboxes(spool)[0][:12] + ".x.ended"), "w").close()
    assert session.set_recording(False, forget=True) is True
    left = [name for name in files(spool) if not name.startswith(kept[:12])]
    assert left in ([], [kept[:12] + ".x.ended"])
    assert outboxes(spool) == [kept]
    foreign.resume_sending()
    assert delivered(foreign) == ["kept"]


def has_owner(spool, name):
    from datacat.outbox import ownership

    return bool(ownership.has_owner(os.path.join(str(spool), name), ours=True))


def test_forgetting_while_it_records_deletes_what_waits_and_nothing_arrives_later(
    fresh_collector, open_session, spool
):
    session = open_session(fresh_collector.url)
    session.pause_sending()
    session.log_event("to be forgotten")
    assert session.set_recording(False, forget=True) is True
    assert files(spool) == []
    session.resume_sending()
    session.set_recording(True, forget=True)
    assert delivered(session) == []
    assert [names(fresh_collector.session(each["id"])) for each in fresh_collector.sessions()] == [
        [],
        [],
    ]


def test_what_another_process_uses_is_left_and_told(
    fresh_collector, open_session, spool, run_program, caplog
):
    living = run_program(
        u"import datacat, sys\n"
        u"session = datacat.create_session(connect_wait=60)\n"
        u"session.pause_sending()\n"
        u"session.log_event('kept')\n"
        u"open(sys.argv[1] + '.ready', 'w').close()\n"
        u"while not __import__('os').path.exists(sys.argv[1] + '.go'):\n"
        u"    __import__('time').sleep(0.01)\n"
        u"session.resume_sending()\n"
        u"session.end(60)\n",
        fresh_collector.url,
    )
    wait_until(lambda: os.path.exists(living.accepted + ".ready"))
    session = open_session(fresh_collector.url, recording=False)
    (kept,) = outboxes(spool)
    assert session.set_recording(False, forget=True) is False
    assert kept in caplog.text and outboxes(spool) == [kept]
    open(living.accepted + ".go", "w").close()
    living.wait()
    (there,) = fresh_collector.sessions()
    assert names(fresh_collector.session(there["id"])) == ["kept"]


def test_another_session_of_this_process_that_records_keeps_its_own(
    fresh_collector, open_session, spool
):
    session, other = (open_session(fresh_collector.url, version=each) for each in "12")
    session.pause_sending()
    session.log_event("forgotten")
    other.log_event("kept")
    assert session.set_recording(False, forget=True) is False
    other.resume_sending()
    assert delivered(other) == ["kept"]
    assert names(fresh_collector.session(session.session_id)) == []


def test_a_damaged_outbox_is_forgotten_too(fresh_collector, open_session, spool):
    session = open_session(fresh_collector.url)
    session.pause_sending()
    session.log_event("e")
    session.set_recording(False)
    path = os.path.join(str(spool), outboxes(spool)[0])
    with open(path, "wb") as damaged:
        damaged.write(b"no database" * 1000)
    open(path + ".corrupt-1700000000", "w").close()
    assert session.set_recording(False, forget=True) is True
    assert files(spool) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_that_turns_it_off_leaves_its_parents_session_alone(
    fresh_collector, run_program
):
    program = run_program(
        u"import datacat, os\n"
        u"session = datacat.create_session(connect_wait=60)\n"
        u"child = os.fork()\n"
        u"if not child:\n"
        u"    session.set_recording(False)\n"
        u"    session.log_event('never')\n"
        u"    os._exit(0)\n"
        u"assert os.waitpid(child, 0)[1] == 0\n"
        u"session.log_event('of the parent')\n"
        u"session.end(60)\n",
        fresh_collector.url,
    )
    program.wait()
    (there,) = fresh_collector.sessions()
    assert names(fresh_collector.session(there["id"])) == ["of the parent"]


def test_what_is_counted_while_it_is_off_never_arrives(fresh_collector, open_session):
    session = open_session(fresh_collector.url, connect_wait=PATIENCE, environment=True)
    session.log_counter("clicks", 5)
    session.set_recording(False)
    session.log_counter("clicks", 100)
    session.set_recording(True)
    session.log_counter("clicks", 1)
    there = session.get_details(PATIENCE)
    assert [metric["value"] for metric in there["metrics"]] == [1]
    assert there["state"]["environment"]["python"]

    def values():
        there = [fresh_collector.session(each["id"]) for each in fresh_collector.sessions()]
        return sorted(metric["value"] for each in there for metric in each["metrics"])

    # What was recorded before is sent later, in its own session.
    wait_until(lambda: len(values()) > 1)
    assert values() == [1, 5]


def test_turned_on_again_it_counts_from_the_beginning(fresh_collector, open_session):
    session = open_session(fresh_collector.url, max_per_minute={"event": 2})
    error = ValueError("v")
    for _ in range(5):
        session.log_event("e")
        session.log_exception(error)
    assert session.stats()["held_back"] == 3 and session.stats()["seen_again"] == 4
    session.set_recording(False)
    session.set_recording(True)
    session.log_event("e")
    assert delivered(session) == ["e"]
    counts = session.stats()
    # The open and the event.
    assert (counts["sent"], counts["held_back"], counts["seen_again"]) == (2, 0, 0)


def test_no_file_for_native_crashes_is_left_when_it_is_turned_off(run_program, spool):
    """In a program of its own: pytest has enabled faulthandler here."""
    program = run_program(
        u"import datacat\n"
        u"session = datacat.create_session('http://127.0.0.1:9', connect_wait=0)\n"
        u"print(session.enable_faulthandler())\n"
        u"session.set_recording(False, forget=True)\n"
        u"print(session.enable_faulthandler())\n"
    )
    program.wait()
    assert program.output.split()[-1] == "False"
    assert files(spool) == []


def test_a_call_that_was_on_its_way_when_it_was_turned_off_opens_nothing(open_session, spool):
    session = open_session("http://127.0.0.1:9", recording=False)
    member = session._membership
    recording.keep(member, kinds.EVENT, b"{}")
    pipeline = member._make_pipeline(None)
    assert pipeline.admit(member)
    assert pipeline.outbox is None and not spool.exists()
    session.set_recording(True)
    assert session.stats()["waiting"] == 1  # the open
    session.set_recording(False, forget=True)
