"""A run that is killed while recording is off leaves nothing to report."""

from __future__ import absolute_import, division

import os

from tools.waiting import PATIENCE, wait_until

PROGRAM = u"""
import datacat, sys, time
session = datacat.create_session(connect_wait=60, recording=%s)
session.start_heartbeat_monitor(timeout=60)
session.log_event("of the killed run")
session.flush(60)
session.pause_sending()
session.log_event("kept")
session.set_recording(False)
session.log_event("never")
open(sys.argv[1] + ".off", "w").close()
while True:
    session.log_event("never")
    session.heartbeat()
    time.sleep(0.001)
"""


def killed_while_off(run_program, url, recording):
    program = run_program(PROGRAM % recording, url)
    wait_until(lambda: os.path.exists(program.accepted + ".off"))
    program.kill()
    os.remove(program.accepted + ".off")


def names(details):
    return [event["name"] for event in details["events"]]


def test_a_run_without_consent_leaves_no_file_and_the_next_one_reports_no_crash(
    any_fresh_collector, run_program, open_session, spool
):
    killed_while_off(run_program, any_fresh_collector.url, recording=False)
    assert not spool.exists() and any_fresh_collector.sessions() == []
    session = open_session(any_fresh_collector.url)
    assert names(session.get_details(PATIENCE)) == []
    assert len(any_fresh_collector.sessions()) == 1


def test_a_run_that_turned_it_off_has_ended_and_the_next_one_reports_no_crash(
    any_fresh_collector, run_program, open_session, spool
):
    killed_while_off(run_program, any_fresh_collector.url, recording=True)
    (there,) = any_fresh_collector.sessions()
    open_session(any_fresh_collector.url)
    wait_until(lambda: not any_fresh_collector.session(there["id"])["active"])
    found = any_fresh_collector.session(there["id"])
    assert names(found) == ["of the killed run", "kept"]
    assert not found.get("crashed")


def test_the_next_run_without_consent_touches_nothing(
    any_fresh_collector, run_program, open_session, spool
):
    killed_while_off(run_program, any_fresh_collector.url, recording=True)
    before = dict((name, os.stat(str(spool / name)).st_mtime) for name in os.listdir(str(spool)))
    session = open_session(any_fresh_collector.url, recording=False)
    session.log_event("never")
    session.end(PATIENCE)
    assert before == dict(
        (name, os.stat(str(spool / name)).st_mtime) for name in os.listdir(str(spool))
    )
    (there,) = any_fresh_collector.sessions()
    assert names(any_fresh_collector.session(there["id"])) == ["of the killed run"]
