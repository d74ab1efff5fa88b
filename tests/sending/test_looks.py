"""Promises about looking at sessions: never more of them on the line than it can carry."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import lose_answer, never_answer
from tools.sending import CLEAN, counts, is_write, log

# Of a session whose beginning is enough: 4 KiB, and the piece in which they end.
BEGINNING = 4096 + 512
LONG = "x" * 400


def fail_once(bench, fault):
    bench.server.concerned = is_write
    bench.server.next_faults = [fault]


def fill(bench, records):
    """Let the session have some events of about 500 bytes."""
    log(bench, [LONG] * records)
    bench.drain()
    bench.server.streamed = 0


def test_the_second_look_at_a_session_that_did_not_change_reads_its_beginning(bench):
    fill(bench, 100)
    fail_once(bench, never_answer)
    log(bench, ["one"])
    bench.drain()
    assert 100 * 400 < bench.server.streamed < 100 * 600 + BEGINNING
    assert bench.server.names()[100:] == ["one"] and counts(bench.entry) == CLEAN


def test_a_session_that_did_change_is_read_again(bench):
    """Somebody else logged to it meanwhile, and so it says nothing about our record."""
    fill(bench, 100)
    fail_once(bench, never_answer)
    log(bench, ["one"])
    while not bench.server.streamed:
        bench.world.pass_(bench.step())
    bench.server.only_session()["updated_at"] = "another time"
    bench.drain()
    assert bench.server.streamed > 2 * 100 * 400
    assert bench.server.names()[100:] == ["one"] and counts(bench.entry) == CLEAN


def test_no_heartbeat_changes_a_session_between_two_looks_at_it(v1):
    fill(v1, 100)
    other = v1.session()
    heartbeats = "/%s/heartbeat"
    v1.run(30)
    while not v1.server.sent_to(heartbeats % other.server_id)[3:]:
        v1.run(0.5)
    # The next ones are due while the session is quiet.
    v1.run(12.5)
    fail_once(v1, lambda server, request: never_answer_soon(server))
    del v1.server.calls[:]
    log(v1, ["one"])
    v1.drain()
    assert len(v1.server.sent_to(heartbeats % other.server_id)) == 1
    assert not v1.server.sent_to(heartbeats % v1.entry.server_id)
    assert v1.server.streamed < 100 * 700 + 2 * BEGINNING
    v1.run(2)
    assert v1.server.sent_to(heartbeats % v1.entry.server_id)


def never_answer_soon(server):
    server.timeout = 1.0
    return never_answer(server, None)


@pytest.mark.parametrize("fault, copies", [(never_answer, 0), (lose_answer, 1)])
def test_a_session_too_large_for_the_line_is_not_read(bench, fault, copies):
    """60 kB at 512 bytes a second.  That it is too large is found out once, within a minute."""
    fill(bench, 120)
    bench.server.pace = 1.0
    fail_once(bench, fault)
    log(bench, ["one"])
    bench.drain(200)
    assert bench.server.streamed < 60 * 512 + 2 * BEGINNING
    assert bench.server.names()[120:] == ["one"] * (1 + copies)
    assert bench.entry.possibly_twice == 1
    bench.server.streamed = 0
    fail_once(bench, fault)
    log(bench, ["two"])
    bench.drain(60)
    assert bench.server.streamed <= 2 * BEGINNING
    assert bench.entry.possibly_twice == 2
    (warning,) = [text for topic, text in bench.warnings.said if topic.startswith("large")]
    assert "rotate_after" in warning


def test_what_one_session_shows_about_the_line_is_known_for_the_others(bench):
    first = bench.entry
    fill(bench, 120)
    bench.entry = bench.session()
    log(bench, [LONG] * 120)
    bench.drain()
    bench.server.streamed = 0
    bench.server.pace = 1.0
    for entry in first, bench.entry:
        fail_once(bench, never_answer)
        bench.event(entry, "one")
        bench.drain(200)
    assert bench.server.streamed < 60 * 512 + 4 * BEGINNING + 2 * 512


def test_what_a_run_shows_about_the_line_is_known_to_the_next(bench):
    """A session too large for it is not read at all, though this run has read none."""
    fill(bench, 120)
    bench.server.pace = 1.0
    fail_once(bench, never_answer)
    log(bench, ["one"])
    bench.drain(200)
    successor = bench.again()
    successor.entry = successor.session()
    log(successor, [LONG] * 120)
    successor.drain()
    successor.server.streamed = 0
    fail_once(successor, never_answer)
    log(successor, ["two"])
    successor.drain(60)
    assert successor.server.streamed <= 3 * BEGINNING
    assert successor.entry.possibly_twice == 1


def test_a_session_that_the_line_can_carry_is_read_however_slow_it_is(bench):
    fill(bench, 40)
    bench.server.pace = 1.0
    fail_once(bench, lose_answer)
    log(bench, ["one"])
    bench.drain(200)
    assert bench.server.names()[40:] == ["one"] and counts(bench.entry) == CLEAN


def test_records_of_a_session_that_cannot_be_read_go_one_by_one(bench):
    bench.server.windows = True
    fill(bench, 120)
    bench.server.pace = 1.0
    fail_once(bench, never_answer)
    log(bench, ["one"])
    bench.drain(200)
    windows = []
    bench.server.call_all = lambda requests: windows.append(requests) or ([], None)
    log(bench, ["two"] * 20)
    bench.drain()
    assert not windows


def test_a_session_that_was_opened_again_counts_as_small(bench):
    """However large the lost one was."""
    fill(bench, 120)
    bench.server.pace = 1.0
    fail_once(bench, never_answer)
    log(bench, ["one"])
    bench.drain(200)
    assert bench.entry.possibly_twice == 1
    bench.server.lose_data()
    log(bench, ["two"])
    bench.drain(200)
    fail_once(bench, lose_answer)
    log(bench, ["three"])
    bench.drain(200)
    assert bench.server.names().count("three") == 1
    assert bench.entry.possibly_twice == 1
