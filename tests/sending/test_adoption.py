"""Promises about what a dead process left: who takes it over, what it is called, that it arrives.

A process dies here by letting go of its file without a word, as sqlite's lock does at kill -9.
"""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import lose_answer
from tools.sending import Bench

from datacat import _compat
from datacat.outbox.spool import identity_of
from datacat.records import kinds
from datacat.sending import adoption


@pytest.fixture
def bench(tmp_path):
    """Makes benches on one folder; all speak to the server of the first."""
    made = []

    def make(**options):
        if made:
            options.update(server=made[0].server, world=made[0].world)
        made.append(Bench(str(tmp_path / "spool"), looks=True, **options))
        return made[-1]

    yield make
    for each in made:
        each.die()


def log(line, entry, *names):
    for name in names:
        line.event(entry, name)


def crash_event(server, server_id):
    found = [
        event
        for event in server.sessions[server_id]["events"]
        if event["name"] == "session_crashed_detected"
    ]
    assert len(found) == 1
    return found[0]["data"]


def other_with(bench, *names):
    """A bench that logged so much into a session of its own; return it and the session's entry."""
    line = bench()
    entry = line.session()
    log(line, entry, *names)
    return line, entry


# -- adopting


@pytest.mark.parametrize("classic", [False, True])
def test_what_a_dead_process_left_is_delivered_in_order_and_its_crash_recorded(bench, classic):
    dead = bench(classic=classic)
    left = dead.session()
    log(dead, left, "one", "two")
    alive = bench()
    dead.die()
    alive.session()
    alive.drain()
    alive.run(5)
    assert alive.server.names(left.server_id) == ["one", "two", "session_crashed_detected"]
    held = alive.server.sessions[left.server_id]
    assert held["ended_at"]
    assert classic or held["crashed"]
    assert len(alive.sender.outboxes) == 1  # the adopted one is over and closed
    assert len(alive.spool._paths()) == 1  # and deleted


def test_a_living_process_s_outbox_is_left_alone(bench):
    other, entry = other_with(bench, "one")
    alive = bench()
    alive.session()
    alive.run(130)
    assert alive.server.names(entry.server_id) == []
    other.drain()
    assert other.server.names(entry.server_id) == ["one"]


def test_nothing_is_adopted_before_the_server_is_known_to_be_there(bench):
    dead, _ = other_with(bench, "one")
    alive = bench()
    dead.die()
    alive.run(200)
    assert len(alive.sender.outboxes) == 1


def test_an_own_open_goes_before_the_look_for_the_dead(bench, monkeypatch):
    alive = bench(classic=True)
    alive.session()
    alive.run(1)
    alive.world.pass_(61)
    survey, opened_then = alive.spool.survey, []
    monkeypatch.setattr(
        alive.spool,
        "survey",
        lambda held: (opened_then.append(len(alive.server.sessions)) or survey(held)),
    )
    alive.session()
    alive.run(1)
    assert opened_then == [2]


def test_dead_outboxes_are_looked_for_once_a_minute_however_busy_the_process_is(
    bench, monkeypatch
):
    alive = bench()
    mine = alive.session()
    looks = []
    survey = alive.spool.survey
    monkeypatch.setattr(
        alive.spool, "survey", lambda held: looks.append(alive.world.now) or survey(held)
    )
    for _ in range(700):
        log(alive, mine, "busy")
        log(alive, mine, "busy")
        alive.world.pass_(0.3)
        alive.step()
    assert len(looks) == 4
    assert min(after - before for before, after in zip(looks, looks[1:])) >= 60


def test_an_adopted_session_gets_every_tenth_send_while_the_own_one_is_busy(bench):
    dead, left = other_with(bench, *["old"] * 3)
    alive = bench()
    dead.die()
    mine = alive.session()
    log(alive, mine, *["new"] * 500)
    names = []
    while alive.server.names(left.server_id).count("old") < 3:
        assert alive.step() == 0.0
        alive.world.pass_(0.2)
        names = alive.server.names(mine.server_id)
    assert 10 < len(names) < 80  # two looks at the first old one, with 2 s between


def test_the_head_of_an_adopted_outbox_that_had_arrived_is_not_sent_again(bench):
    dead, left = other_with(bench, "one", "two")
    dead.server.concerned = lambda request: request.path.endswith("/events")
    dead.server.next_faults = [lose_answer]
    dead.step()
    alive = bench()
    dead.die()
    alive.session()
    alive.run(20)
    assert alive.server.names(left.server_id) == ["one", "two", "session_crashed_detected"]


def test_the_crash_of_a_session_with_nothing_waiting_is_no_doubtful_head(bench):
    dead, left = other_with(bench)
    alive = bench()
    dead.die()
    alive.session()
    alive.run(1.0)
    assert alive.server.names(left.server_id) == ["session_crashed_detected"]


def test_an_adopted_outbox_whose_last_record_is_buried_is_let_go_too(bench):
    dead, left = other_with(bench)
    dead.end(left)
    alive = bench()
    dead.die()
    alive.server.concerned = lambda request: request.path.endswith("/end")
    alive.server.fault = lambda server, request: _refused()
    alive.session()
    alive.run(30)
    assert len(alive.sender.outboxes) == 1


def _refused():
    from tools.memory_server import text

    return text(400, "Invalid request body\n")


def test_a_session_that_said_goodbye_is_no_crash(bench):
    dead, left = other_with(bench, "one")
    dead.end(left)
    closed = dead.session()
    dead.outbox.say_goodbye(closed, "closed")
    alive = bench()
    dead.die()
    alive.session()
    alive.run(20)
    assert alive.server.names(left.server_id) == ["one"]
    assert alive.server.names(closed.server_id) == []
    assert alive.server.sessions[left.server_id]["ended_at"]
    assert len(alive.sender.outboxes) == 1


def test_a_session_that_was_inherited_by_a_fork_is_not_declared_dead_by_the_heir_s_death(bench):
    dead = bench()
    left = dead.session(inherited=1)
    alive = bench()
    dead.die()
    alive.session()
    alive.run(20)
    assert alive.server.names(left.server_id) == []
    assert "ended_at" not in alive.server.sessions[left.server_id]


def test_an_outbox_whose_process_lives_on_in_a_child_is_not_adopted(bench, monkeypatch):
    dead, left = other_with(bench, "one")
    heir = bench()
    heir_store = heir.spool.create(parent=identity_of(dead.outbox.path))
    alive = bench()
    dead.die()
    alive.session()
    alive.run(70)
    assert alive.server.names(left.server_id) == []
    heir_store.close()
    alive.run(70)
    assert alive.server.names(left.server_id) == ["one", "session_crashed_detected"]


def test_a_session_that_never_reached_the_server_is_opened_told_and_ended(bench):
    dead = bench()
    left = dead.session(opened=False)
    log(dead, left, "one")
    alive = bench()
    dead.die()
    alive.session()
    alive.run(30)
    assert "server-2" in alive.server.sessions
    assert alive.server.names("server-2") == ["one", "session_crashed_detected"]
    assert alive.server.sessions["server-2"]["crashed"]


def test_closing_leaves_the_rest_of_an_adopted_outbox_to_the_next_process(bench):
    dead, left = other_with(bench, "one")
    alive = bench()
    dead.die()
    alive.session()
    while len(alive.sender.outboxes) == 1:
        alive.step()
    alive.sender.close_adopted()
    assert len(alive.sender.outboxes) == 1
    next_one = bench()
    next_one.session()
    next_one.run(20)
    assert next_one.server.names(left.server_id) == ["one", "session_crashed_detected"]


# -- continuing


def test_a_continued_outbox_s_old_sessions_are_judged_delivered_and_forgotten(bench):
    line, left = other_with(bench, "one")
    successor = line.again(looks=True)
    mine = successor.session()
    successor.run(20)
    assert successor.server.names(left.server_id) == ["one", "session_crashed_detected"]
    assert [entry.local_id for entry in successor.outbox.entries()] == [mine.local_id]
    successor.die()


def test_a_new_session_that_gets_a_forgotten_one_s_number_is_alive(bench):
    line, _ = other_with(bench, "one")
    successor = line.again(looks=True)
    successor.link.succeeded()
    successor.run(20)
    assert successor.outbox.entries() == []
    mine = successor.session()
    successor.run(200)
    assert mine.goodbye is None
    assert "session_crashed_detected" not in successor.server.names(mine.server_id)
    assert successor.server.sent_to("/%s/heartbeat" % mine.server_id)
    successor.die()


def test_a_continued_session_is_told_nothing_of_its_life(bench):
    line, left = other_with(bench, "one")
    line.run(1)
    before = len(line.server.sent_to("/heartbeat"))
    successor = line.again()
    successor.run(60)
    assert len(successor.server.sent_to("/heartbeat")) == before
    successor.die()


# -- what is known of a death


class Facts(object):
    hung = None


def facts(notes, boot, hung=None):
    entry = Facts()
    entry.hung = hung
    return adoption.crash_facts(entry, notes, boot)


def test_a_plain_death_is_what_servers_call_it():
    assert facts({"process": "77", "boot": "b"}, "b") == {
        "reason": "abnormal_termination",
        "rebooted": False,
        "hung_before": False,
        "process": "77",
    }


def test_a_death_in_a_hang_and_a_reboot_are_told_apart():
    assert facts({"boot": "b"}, "b", hung=1)["reason"] == "killed_while_hung"
    assert facts({"boot": "a"}, "b")["reason"] == "machine_restarted"
    assert facts({"boot": "a"}, "b", hung=1) == {
        "reason": "machine_restarted",
        "rebooted": True,
        "hung_before": True,
        "process": None,
    }


@pytest.mark.parametrize("notes, boot", [({}, "b"), ({"boot": ""}, "b"), ({"boot": "a"}, "")])
def test_a_reboot_is_not_guessed_where_a_boot_is_unknown(notes, boot):
    assert facts(notes, boot)["rebooted"] is False


def test_a_continued_outbox_s_dead_process_is_the_one_before_not_this_one(bench):
    line, left = other_with(bench)
    line.outbox.note(process="77", boot="another boot")
    successor = line.again(looks=True, predecessor={"process": "77", "boot": "another boot"})
    successor.outbox.note(**adoption.describe_owner())
    successor.session()
    successor.run(20)
    told = crash_event(successor.server, left.server_id)
    assert told["process"] == "77"
    assert told["rebooted"] is bool(_compat.boot_identity())
    successor.die()


def test_when_the_dead_process_last_lived_is_told(bench):
    dead, left = other_with(bench, "one")
    alive = bench()
    dead.die()
    alive.session()
    alive.run(20)
    told = crash_event(alive.server, left.server_id)["last_lived_at"]
    assert told.endswith("Z") and told > kinds.rfc3339(10**15)


def test_a_verdict_is_given_once(bench):
    dead, left = other_with(bench)
    outbox = dead.outbox
    for _ in range(3):
        adoption.condemn(outbox, outbox.entries(), {})
    dead.run(10)
    assert dead.server.names(left.server_id) == ["session_crashed_detected"]
    assert len(dead.server.sent_to("/crash")) == 1


def test_a_session_withdrawn_meanwhile_is_not_judged(bench):
    dead, left = other_with(bench)
    dead.outbox.forget(left)
    adoption.condemn(dead.outbox, [left], {})
    assert dead.outbox.entries() == []
