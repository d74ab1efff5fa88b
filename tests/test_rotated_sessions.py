"""`rotate_after` with real servers: a session goes on as another one, and loses nothing."""

from __future__ import absolute_import, division

import os
import re

import pytest
from tools import held
from tools.invariants import check_invariants
from tools.recorder import Recorder
from tools.waiting import PATIENCE

ROTATED = "session_rotated"


def chain(collector, first):
    """Return the server's sessions from the first one on, each as the one before names it."""
    found = [collector.session(first)]
    while ROTATED in held.names(found[-1]):
        assert held.is_ended(found[-1])
        following = held.event(found[-1], ROTATED)["data"]["next_session_id"]
        found.append(collector.session(following))
    return found


def steps(sessions):
    return [held.numbers(session) for session in sessions]


def slices(count, size):
    return [list(range(count))[start : start + size] for start in range(0, count, size)]


@pytest.fixture(params=[1, 64], ids=["window=1", "window=64"])
def window(request):
    return request.param


def test_the_records_of_a_session_are_in_several_ones_that_lead_to_each_other(
    any_fresh_collector, open_session, window, tmp_path
):
    session = open_session(any_fresh_collector.url, rotate_after=20, window=window)
    first, local_id = session.session_id, session.local_id
    recorder = Recorder(session, str(tmp_path / "accepted.jsonl"), "w")
    recorder.update_state({"parts": {"a": 1}})
    for number in range(70):
        recorder.log_event("step", {"number": number})
        if number % 10 == 0:
            recorder.update_state({"parts": {"b%d" % number: number}})
    assert session.flush(PATIENCE)
    there = chain(any_fresh_collector, first)
    assert session.session_id == there[-1]["id"] and session.local_id == local_id
    assert session.get_details(PATIENCE)["id"] == session.session_id
    assert not held.is_ended(there[-1])
    assert sum(steps(there), []) == list(range(70)) and len(there) == 4
    assert all(
        there[-1]["state"]["parts"]["b%d" % number] == number for number in range(0, 70, 10)
    )
    stats = session.stats()
    assert [stats[name] for name in ("waiting", "dead", "dropped", "possibly_twice")] == [0] * 4
    session.end(PATIENCE)
    there = chain(any_fresh_collector, first)
    assert all(held.is_ended(each) for each in there)
    assert len(any_fresh_collector.sessions()) == len(there)
    check_invariants([str(tmp_path / "accepted.jsonl")], there, allow={"split": 1})


def test_bytes_count_too(any_fresh_collector, open_session):
    session = open_session(any_fresh_collector.url, rotate_after="10 kB")
    first = session.session_id
    for number in range(25):
        session.log_event("step", {"number": number, "text": "x" * 950})
    session.end(PATIENCE)
    there = steps(chain(any_fresh_collector, first))
    assert there == slices(25, 11)


def test_an_application_that_only_exits_leaves_none_of_its_sessions_open(
    any_fresh_collector, run_program
):
    program = run_program(
        u"import datacat\n"
        u"session = datacat.create_session(connect_wait=60, rotate_after=10)\n"
        u"print('FIRST ' + session.session_id)\n"
        u"for number in range(35):\n"
        u"    session.log_event('step', {'number': number})\n",
        any_fresh_collector.url,
    )
    first = program.wait_for_line(re.compile("FIRST (.*)"), PATIENCE).group(1)
    program.wait()
    there = chain(any_fresh_collector, first)
    assert steps(there) == slices(35, 10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_session_that_a_forked_child_writes_into_too_stays_the_same(
    any_fresh_collector, run_program
):
    program = run_program(
        u"""
import datacat, os
from tools.waiting import PATIENCE
session = datacat.create_session(connect_wait=PATIENCE, rotate_after=5)
session.log_event("first")
assert session.flush(PATIENCE)
child = os.fork()
if child == 0:
    for number in range(20):
        session.log_event("child", {"number": number})
    assert session.flush(PATIENCE)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for number in range(20):
    session.log_event("parent", {"number": number})
session.end(PATIENCE)
""",
        any_fresh_collector.url,
    )
    program.wait()
    (only,) = any_fresh_collector.sessions()
    there = any_fresh_collector.session(only["id"])
    assert held.numbers(there, "child") == held.numbers(there, "parent") == list(range(20))
    assert held.is_ended(there)
