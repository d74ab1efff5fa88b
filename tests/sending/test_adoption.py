"""Promises about what a dead process left: who adopts it, what is reported, that it arrives.

A process dies here by letting go of its file without a word, as happens at kill -9.
"""

from __future__ import absolute_import, division

import contextlib
import os
import threading

import pytest
from tools.memory_server import lose_answer, text
from tools.outboxes import WHERE
from tools.redacting import shown_to
from tools.robbery import Robbery
from tools.sending import Bench

from datacat import _compat
from datacat.outbox.names import identity_of, stacks_of
from datacat.outbox.refusals import SpoolUnusable
from datacat.outbox.spool import Spool
from datacat.records import kinds
from datacat.sending import adoption


@pytest.fixture
def process(tmp_path):
    """Makes the benches of processes that share a folder and a server."""
    made = []

    def make(**options):
        if made:
            options.update(server=made[0].server, world=made[0].world)
        made.append(Bench(str(tmp_path / "spool"), adopts=True, **options))
        return made[-1]

    yield make
    for each in made:
        each.die()


def log(bench, entry, *names):
    for name in names:
        bench.event(entry, name)


def outboxes(bench):
    """Return the names of the outbox files in a bench's folder."""
    return [name for name in os.listdir(bench.folder) if name.endswith(".outbox")]


# What the client tells of a crash; a v1 server writes `session_crashed_detected` itself.
REPORT = "session_crash_report"
TOLD = [REPORT, "session_crashed_detected"]


def crash_event(server, server_id):
    found = [event for event in server.sessions[server_id]["events"] if "process" in event["data"]]
    assert len(found) == 1
    return found[0]["data"]


def process_with(process, *names):
    """Return the bench of a process that logged into a session, and the session's entry."""
    bench = process()
    entry = bench.session()
    log(bench, entry, *names)
    return bench, entry


# -- adopting


@pytest.mark.parametrize("classic", [False, True])
def test_what_a_dead_process_left_is_delivered_in_order_and_its_crash_recorded(process, classic):
    dead = process(classic=classic)
    left = dead.session()
    log(dead, left, "one", "two")
    alive = process()
    dead.die()
    alive.session()
    alive.drain()
    alive.run(5)
    told = ["session_crashed_detected"] if classic else TOLD
    assert alive.server.names(left.server_id) == ["one", "two"] + told
    stored = alive.server.sessions[left.server_id]
    assert stored["ended_at"]
    assert classic or stored["crashed"]
    assert len(alive.sender.outboxes) == 1  # the adopted one is over and closed
    assert len(outboxes(alive)) == 1  # and deleted


def test_a_living_processs_outbox_is_left_alone(process):
    other, entry = process_with(process, "one")
    alive = process()
    alive.session()
    alive.run(130)
    assert alive.server.names(entry.server_id) == []
    other.drain()
    assert other.server.names(entry.server_id) == ["one"]


def test_nothing_is_adopted_before_the_server_is_known_to_be_there(process):
    dead, _ = process_with(process, "one")
    alive = process()
    dead.die()
    alive.run(200)
    assert len(alive.sender.outboxes) == 1


def test_an_own_open_goes_before_adoption(process, monkeypatch):
    alive = process(classic=True)
    alive.session()
    alive.run(1)
    alive.world.pass_(61)
    candidates, opened_then = alive.spool.candidates, []
    monkeypatch.setattr(
        alive.spool,
        "candidates",
        lambda mine: opened_then.append(len(alive.server.sessions)) or candidates(mine),
    )
    alive.session()
    alive.run(1)
    assert opened_then == [2]


def test_free_outboxes_are_adopted_once_a_minute_however_busy_the_process_is(process, monkeypatch):
    alive = process()
    mine = alive.session()
    looks = []
    candidates = alive.spool.candidates
    monkeypatch.setattr(
        alive.spool, "candidates", lambda mine: looks.append(alive.world.now) or candidates(mine)
    )
    for _ in range(700):
        log(alive, mine, "busy")
        log(alive, mine, "busy")
        alive.world.pass_(0.3)
        alive.step()
    assert len(looks) == 4
    assert min(after - before for before, after in zip(looks, looks[1:])) >= 60


def test_an_adopted_session_gets_every_tenth_send_while_the_own_one_is_busy(process):
    dead, left = process_with(process, *["old"] * 3)
    alive = process()
    dead.die()
    mine = alive.session()
    log(alive, mine, *["new"] * 500)
    names = []
    while alive.server.names(left.server_id).count("old") < 3:
        assert alive.step() == 0.0
        alive.world.pass_(0.2)
        names = alive.server.names(mine.server_id)
    assert 10 < len(names) < 80  # two read-backs of the first old one, with 2 s between


def test_the_head_of_an_adopted_outbox_that_had_arrived_is_not_sent_again(process):
    dead, left = process_with(process, "one", "two")
    dead.server.concerned = lambda request: request.path.endswith("/events")
    dead.server.next_faults = [lose_answer]
    dead.step()
    alive = process()
    dead.die()
    alive.session()
    alive.run(20)
    assert alive.server.names(left.server_id) == ["one", "two"] + TOLD


def test_the_crash_of_a_session_with_nothing_waiting_is_not_in_doubt(process):
    dead, left = process_with(process)
    alive = process()
    dead.die()
    alive.session()
    alive.run(1.0)
    assert alive.server.names(left.server_id) == TOLD


def test_an_adopted_outbox_whose_last_record_is_buried_is_closed_too(process):
    dead, left = process_with(process)
    dead.end(left)
    alive = process()
    dead.die()
    alive.server.concerned = lambda request: request.path.endswith("/end")
    alive.server.fault = lambda server, request: text(400, "Invalid request body\n")
    alive.session()
    alive.run(30)
    assert len(alive.sender.outboxes) == 1


def test_a_session_that_said_goodbye_is_not_a_crash(process):
    dead, left = process_with(process, "one")
    dead.end(left)
    closed = dead.session()
    dead.outbox.say_goodbye(closed, "closed")
    alive = process()
    dead.die()
    alive.session()
    alive.run(20)
    assert alive.server.names(left.server_id) == ["one"]
    assert alive.server.names(closed.server_id) == []
    assert alive.server.sessions[left.server_id]["ended_at"]
    assert len(alive.sender.outboxes) == 1


def test_a_session_that_a_fork_inherited_is_not_declared_dead_by_the_heirs_death(process):
    dead = process()
    left = dead.session(inherited=1)
    alive = process()
    dead.die()
    alive.session()
    alive.run(20)
    assert alive.server.names(left.server_id) == []
    assert "ended_at" not in alive.server.sessions[left.server_id]


def test_an_outbox_whose_process_lives_on_in_a_child_is_not_adopted(process, monkeypatch):
    dead, left = process_with(process, "one")
    heir = process()
    heir_store = heir.spool.create(parent=identity_of(dead.outbox.path))
    alive = process()
    dead.die()
    alive.session()
    alive.run(70)
    assert alive.server.names(left.server_id) == []
    heir_store.close()
    alive.run(70)
    assert alive.server.names(left.server_id) == ["one"] + TOLD


def test_a_dead_session_unknown_to_the_server_is_opened_reported_and_ended(process):
    dead = process()
    left = dead.session(opened=False)
    log(dead, left, "one")
    alive = process()
    dead.die()
    alive.session()
    alive.run(30)
    assert "server-2" in alive.server.sessions
    assert alive.server.names("server-2") == ["one"] + TOLD
    assert alive.server.sessions["server-2"]["crashed"]


def test_an_unusable_folder_is_not_a_bug_and_retried_in_a_minute(process, monkeypatch):
    """A process that found no place for its outbox has a spool all the same."""
    dead, left = process_with(process, "one")
    alive = process()
    dead.die()
    tries = []

    def unusable(mine):
        tries.append(alive.world.now)
        raise SpoolUnusable("no permission")

    monkeypatch.setattr(alive.spool, "candidates", unusable)
    alive.session()
    alive.run(130)
    assert len(tries) == 3 and alive.warnings.said == []
    monkeypatch.undo()
    alive.run(70)
    assert alive.server.names(left.server_id) == ["one"] + TOLD


def test_with_an_unusable_folder_no_crash_is_reported(process, monkeypatch):
    """Whether a forked child lives on with the sessions cannot be seen without it."""
    ended, left = process_with(process)
    successor = ended.again(adopts=True)

    def unusable(mine):
        raise SpoolUnusable("no permission")

    monkeypatch.setattr(successor.spool, "candidates", unusable)
    successor.session()
    successor.run(130)
    assert successor.outbox.find(left.local_id).goodbye is None
    successor.die()


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="the system does not list descriptors")
def test_an_adopted_outbox_whose_descriptors_were_closed_is_delivered_once(process, tmp_path):
    dead, left = process_with(process, *["event %03d" % number for number in range(300)])
    alive = process()
    dead.die()
    robbery = Robbery(tmp_path)
    alive.session()
    while not 100 < len(alive.server.names(left.server_id)) < 200:
        alive.step()
        alive.world.pass_(0.2)
    (adopted,) = [name for name in outboxes(alive) if name not in alive.outbox.path]
    robbery.rob(os.path.join(alive.folder, adopted))
    alive.run(200)
    names = alive.server.names(left.server_id)
    assert names[:300] == ["event %03d" % number for number in range(300)]
    assert names[300:] == TOLD
    assert len(alive.warnings.about("detached")) == 1
    robbery.check()
    robbery.close()


def test_an_outbox_that_could_not_be_taken_over_is_free_again_for_the_next_try(
    process, monkeypatch
):
    dead, left = process_with(process, "one")
    alive = process()
    dead.die()
    report_crashes, broken = adoption.report_crashes, [RuntimeError("our bug")]

    def report_in_vain(outbox, entries, notes, *told):
        if entries and broken:
            raise broken.pop()
        report_crashes(outbox, entries, notes, *told)

    monkeypatch.setattr(adoption, "report_crashes", report_in_vain)
    alive.warnings.expected.add("bug: RuntimeError: our bug")
    alive.session()
    alive.run(5)
    assert not broken and len(alive.sender.outboxes) == 1
    alive.run(70)
    assert alive.server.names(left.server_id) == ["one"] + TOLD


def test_closing_leaves_the_rest_of_an_adopted_outbox_to_the_next_process(process):
    dead, left = process_with(process, "one")
    alive = process()
    dead.die()
    alive.session()
    while len(alive.sender.outboxes) == 1:
        alive.step()
    alive.sender.close_adopted()
    assert len(alive.sender.outboxes) == 1
    next_one = process()
    next_one.session()
    next_one.run(20)
    assert next_one.server.names(left.server_id) == ["one"] + TOLD


# -- continuing


def test_a_continued_outboxs_old_sessions_are_judged_delivered_and_forgotten(process):
    ended, left = process_with(process, "one")
    successor = ended.again(adopts=True)
    mine = successor.session()
    successor.run(20)
    assert successor.server.names(left.server_id) == ["one"] + TOLD
    assert [entry.local_id for entry in successor.outbox.entries()] == [mine.local_id]
    successor.die()


def test_a_new_session_that_gets_a_forgotten_ones_number_is_alive(process):
    ended, _ = process_with(process, "one")
    successor = ended.again(adopts=True)
    successor.link.succeeded()
    successor.run(20)
    assert successor.outbox.entries() == []
    mine = successor.session()
    successor.run(200)
    assert mine.goodbye is None
    assert REPORT not in successor.server.names(mine.server_id)
    assert successor.server.sent_to("/%s/heartbeat" % mine.server_id)
    successor.die()


def test_a_continued_session_gets_no_heartbeats(process):
    ended, left = process_with(process, "one")
    ended.run(1)
    before = len(ended.server.sent_to("/heartbeat"))
    successor = ended.again()
    successor.run(60)
    assert len(successor.server.sent_to("/heartbeat")) == before
    successor.die()


# -- what is known about an end


class Facts(object):
    hung = None


def facts(notes, boot, hung=None):
    entry = Facts()
    entry.hung = hung
    return adoption.crash_facts(entry, notes, boot)


def test_an_unexplained_death_gets_the_servers_own_reason():
    assert facts({"process": "77", "boot": "b"}, "b") == {
        "reason": "abnormal_termination",
        "rebooted": False,
        "hung_before": False,
        "process": "77",
    }


def test_a_death_in_a_hang_and_a_reboot_are_distinguished():
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
    assert facts(notes, boot)["rebooted"] is None


def test_a_continued_outboxs_dead_process_is_the_one_before_not_this_one(process):
    ended, left = process_with(process)
    ended.outbox.note(process="77", boot="another boot")
    successor = ended.again(adopts=True, predecessor={"process": "77", "boot": "another boot"})
    successor.outbox.note(**adoption.describe_owner())
    successor.session()
    successor.run(20)
    told = crash_event(successor.server, left.server_id)
    assert told["process"] == "77"
    assert told["rebooted"] is (True if _compat.boot_identity() else None)
    successor.die()


def test_the_crash_report_has_the_time_the_process_last_lived(process):
    dead, left = process_with(process, "one")
    alive = process()
    dead.die()
    alive.session()
    alive.run(20)
    told = crash_event(alive.server, left.server_id)["last_lived_at"]
    assert told.endswith("Z") and told > kinds.rfc3339(10**15)


def test_a_crash_is_recorded_once(process):
    dead, left = process_with(process)
    outbox = dead.outbox
    for _ in range(3):
        adoption.report_crashes(outbox, outbox.entries(), {}, True)
    dead.run(10)
    assert dead.server.names(left.server_id) == TOLD
    assert len(dead.server.sent_to("/crash")) == 1


def test_a_session_withdrawn_meanwhile_is_not_judged(process):
    dead, left = process_with(process)
    dead.outbox.forget(left)
    adoption.report_crashes(dead.outbox, [left], {}, True)
    assert dead.outbox.entries() == []


# -- many


def leave(process, count):
    """Leave outboxes of `count` dead processes with an event each; return their sessions' ids."""
    dead = [process_with(process, "one") for _ in range(count)]
    for bench, _ in dead:
        bench.die()
    return [entry.server_id for _, entry in dead]


def test_of_many_outboxes_eight_are_adopted_at_once_and_the_others_after_them(process):
    """150 of them once took descriptors that the application needed."""
    first, left = process_with(process, "one")
    sessions = [left.server_id] + leave(process, 20)
    alive = process()
    first.die()
    alive.session()
    most, begun = 0, alive.world.now
    while alive.world.now < begun + 30:
        alive.step()
        alive.world.pass_(0.01)
        most = max(most, len(alive.sender.outboxes) - 1)
    assert most == adoption.MOST_ADOPTED
    assert [alive.server.names(each) for each in sessions] == [["one"] + TOLD] * 21
    assert len(outboxes(alive)) == 1 and not alive.sender.is_adopting


def test_the_lock_that_a_fork_waits_for_is_held_for_one_outbox_at_a_time(process, monkeypatch):
    """A fork once waited for 60 of them, 4 s."""
    alive = process()
    leave(process, 6)
    opened, held = [], []
    open_if_free, adopting = alive.spool.open_if_free, alive.spool.adopting

    @contextlib.contextmanager
    def counted():
        with adopting():
            before = len(opened)
            yield
            held.append(len(opened) - before)

    monkeypatch.setattr(alive.spool, "adopting", counted)
    monkeypatch.setattr(
        alive.spool, "open_if_free", lambda path: opened.append(path) or open_if_free(path)
    )
    alive.session()
    alive.run(5)
    assert len(opened) == 6 and max(held) == 1


@pytest.mark.parametrize(
    "limit, expected", [(None, 8), (65536, 8), (256, 8), (64, 7), (40, 3), (20, 1), (0, 1)]
)
def test_the_application_keeps_half_of_its_descriptors(limit, expected):
    assert adoption.most_adopted(limit) == expected


def test_what_nobody_here_sends_is_told_once_all_others_are_adopted(process):
    foreign = Spool(process().folder, WHERE._replace(key="c" * 12), False, None).create()
    foreign.close()
    os.utime(foreign.path, (1, 1))
    leave(process, 3)
    alive = process()
    alive.session()
    alive.run(200)
    assert not alive.sender.is_adopting and len(alive.warnings.about("left alone")) == 1


def test_before_record_sees_what_is_told_of_dead_processes_sessions(process):
    """The one of this process's first session: the dead one's callable is gone."""
    dead, left = process_with(process, "one")
    inherited = dead.again(adopts=True)
    other, adopted = process_with(process, "two")
    seen = []

    def redact(kind, fields):
        seen.append(kind)
        return None if kind == "event" else {"reason": "hidden"}

    inherited.redact = shown_to(redact)
    inherited.employ(inherited.outbox.entries())
    other.die()
    inherited.session()
    inherited.drain()
    inherited.run(5)
    assert seen == ["event", "crash"] * 2
    for server_id, name in ((left.server_id, "one"), (adopted.server_id, "two")):
        assert inherited.server.names(server_id) == [name, "session_crashed_detected"]
        assert inherited.server.sessions[server_id]["crashed"]
    inherited.die()


def test_before_record_is_called_for_a_crash_without_a_lock_that_a_fork_waits_for(process):
    """It may wait for a lock of the application's, under which another thread forks."""
    dead, left = process_with(process, "one")
    alive = process()
    dead.die()
    free = []

    def could_fork():
        held = [alive.spool.lock] + [each.lock for each in alive.sender.outboxes]
        for lock in held:
            free.append(lock.acquire(False))
            if free[-1]:
                lock.release()

    def redact(kind, fields):
        thread = threading.Thread(target=could_fork)
        thread.start()
        thread.join()
        return fields

    alive.redact = shown_to(redact)
    alive.employ()
    alive.session()
    alive.drain()
    alive.run(5)
    assert alive.server.sessions[left.server_id]["crashed"]
    # The event's and the crash's: the spool's lock, the own outbox's and the adopted one's.
    assert free == [True] * 6


# -- what faulthandler wrote


def faulted(path, entry, process):
    """Leave the file of a process that crashed; return its path."""
    where = stacks_of(path, entry.local_id, process)
    with open(where, "wb") as stream:
        stream.write(b"Fatal Python error: Aborted\n\nCurrent thread 0x01:\n  File \"a.py\"")
    return where


@pytest.mark.parametrize("classic", [False, True])
def test_a_crash_report_carries_the_stacks_and_the_file_is_removed(process, classic):
    dead = process(classic=classic)
    left, other = dead.session(), dead.session()
    stacks = faulted(dead.outbox.path, left, 7)
    alive = process()
    dead.die()
    alive.session()
    alive.run(10)
    data = crash_event(alive.server, left.server_id)
    assert data["reason"] == "native_crash"
    assert data["stacks"].startswith("Fatal Python error: Aborted\n")
    assert not os.path.exists(stacks)
    other_data = crash_event(alive.server, other.server_id)
    assert other_data["reason"] == "abnormal_termination" and "stacks" not in other_data


def test_the_crash_of_a_forked_process_is_told_to_the_session_that_lives_on(process):
    dead = process()
    left = dead.session(inherited=1)
    stacks = faulted(dead.outbox.path, left, 7)
    alive = process()
    dead.die()
    alive.session()
    alive.run(20)
    assert alive.server.names(left.server_id) == ["forked_process_crashed"]
    assert "Aborted" in crash_event(alive.server, left.server_id)["stacks"]
    assert "ended_at" not in alive.server.sessions[left.server_id]
    assert not os.path.exists(stacks)


def test_stacks_that_nobody_wrote_change_nothing(process):
    dead, left = process_with(process)
    stacks = faulted(dead.outbox.path, left, 7)
    open(stacks, "w").close()
    alive = process()
    dead.die()
    alive.session()
    alive.run(10)
    assert crash_event(alive.server, left.server_id)["reason"] == "abnormal_termination"
    assert not os.path.exists(stacks)
