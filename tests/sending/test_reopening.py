"""Promises about a session that the server lost: opened again, restored, logged."""

from __future__ import absolute_import, division

from tools.memory_server import lose_answer, never_answer, say
from tools.sending import CLEAN, NAMES, OWN_400, counts, is_write, log


def test_a_lost_session_is_opened_again_with_its_state_first_and_logged(bench):
    bench.state(bench.entry, a={"b": 1}, c=None)
    bench.state(bench.entry, a={"d": 2})
    bench.drain()
    old = bench.entry.server_id
    state = {name: value for name, value in bench.server.only_session()["state"].items()}
    bench.server.lose_data()
    log(bench)
    bench.drain()
    assert bench.entry.server_id != old
    stored = bench.server.only_session()
    assert stored["state"] == state
    assert bench.server.names() == NAMES + ["session_reopened"]
    assert stored["events"][-1]["data"] == {"lost_session_id": old}
    writes = [
        request.path.rsplit("/", 1)[1]
        for request in bench.server.calls
        if bench.entry.server_id in request.path and request.method == "POST"
    ]
    assert writes[0] == "state"
    assert counts(bench.entry) == CLEAN


def test_a_lost_session_without_state_is_opened_again_and_nothing_restored(bench):
    bench.server.lose_data()
    log(bench)
    bench.drain()
    assert bench.server.names() == NAMES + ["session_reopened"]
    assert not bench.server.sent_to("/state")


def test_a_session_is_opened_again_at_most_once_in_ten_minutes(bench):
    bench.server.lose_data()
    log(bench)
    bench.drain()
    begun = bench.world.now
    bench.server.lose_data()
    log(bench, ["late"])
    bench.run(500)
    bench.sender.hurry()
    bench.run(60)
    assert not bench.server.sessions and bench.entry.waiting == 1
    assert len(bench.warnings.about("session local-1")) == 1
    bench.drain(within=600)
    assert 595 <= bench.world.now - begun <= 601
    assert bench.server.names() == ["late", "session_reopened"]


def test_a_session_that_waits_to_be_opened_again_delays_only_itself(v1):
    other = v1.session()
    for _ in range(2):
        v1.server.sessions.pop(v1.entry.server_id)
        log(v1)
        v1.run(5)
    v1.event(other, "other")
    v1.run(1)
    assert v1.server.names(other.server_id) == ["other"]
    assert v1.entry.waiting > 0


def test_a_loss_that_a_read_back_finds_opens_the_session_again_too(bench):
    def lose(server, request):
        server.lose_data()
        return never_answer(server, request)

    bench.server.concerned = is_write
    bench.server.next_faults = [lose]
    log(bench)
    bench.drain()
    assert bench.server.names() == NAMES + ["session_reopened"]
    assert counts(bench.entry) == CLEAN


def test_on_classic_records_are_counted_from_the_new_session_on(classic):
    log(classic)
    classic.drain()
    classic.server.lose_data()
    log(classic, ["four"])
    classic.drain()
    classic.server.concerned = is_write
    classic.server.next_faults = [lose_answer]
    log(classic, ["five"])
    classic.drain()
    assert classic.server.names() == ["four", "session_reopened", "five"]
    assert counts(classic.entry) == CLEAN


def test_a_state_that_the_server_refuses_to_take_again_does_not_delay_its_session(v1):
    v1.state(v1.entry, a=1)
    v1.drain()
    v1.server.lose_data()
    v1.server.concerned = lambda request: request.path.endswith("/state")
    v1.server.fault = OWN_400
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES + ["session_reopened"]
    assert len(v1.warnings.about("unrestored")) == 1
    assert counts(v1.entry) == CLEAN


def test_any_other_404_is_not_a_lost_session(bench):
    bench.server.concerned = is_write
    bench.server.fault = say(404, "Not found\n")
    log(bench)
    bench.run(100)
    assert bench.entry.server_id == "server-1" and bench.entry.waiting == 3


def test_a_state_too_large_to_keep_is_delivered_and_not_restored(bench):
    bench.state(bench.entry, big="x" * 300000)
    bench.state(bench.entry, a=1)
    bench.drain()
    bench.server.lose_data()
    bench.state(bench.entry, b=2)
    bench.drain()
    stored = bench.server.only_session()["state"]
    assert stored["b"] == 2 and "a" not in stored
    bench.server.lose_data()
    bench.world.pass_(1000)
    bench.event(bench.entry, "one")
    bench.drain()
    assert bench.server.only_session()["state"]["b"] == 2
