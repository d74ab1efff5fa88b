"""Promises about a session that the server lost: opened again, restored, logged."""

from __future__ import absolute_import, division

from tools.memory_server import lose_answer, never_answer, say
from tools.redacting import shown_to
from tools.sending import CLEAN, NAMES, OWN_400, counts, is_write, log

from datacat.records import build, kinds


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


# What the opening says


PRODUCT_OPENING = build.encode(build.opening("editor", "2.1"))
FIRST = b'{"product":"editor","version":"2.1"}'


def opened_with(bench, state=FIRST):
    """Return an entry of a session whose application gave its product and version."""
    entry = bench.session(opened=False, restoring=1)
    bench.outbox.update(entry, state)
    return entry


def writes_to(bench, entry):
    return [
        request.path.rsplit("/", 1)[1]
        for request in bench.server.calls
        if request.method == "POST" and "/%s/" % entry.server_id in request.path
    ]


def test_classic_is_told_product_and_version_before_the_first_record(classic):
    entry = opened_with(classic)
    log(classic, ["other"])
    classic.event(entry, "one")
    classic.drain()
    stored = classic.server.sessions[entry.server_id]
    assert stored["state"] == {"product": "editor", "version": "2.1"}
    assert writes_to(classic, entry) == ["state", "events"]
    assert counts(entry) == CLEAN


def test_a_session_that_logs_nothing_is_told_too(classic):
    entry = opened_with(classic)
    classic.run(1)
    assert writes_to(classic, entry) == ["state"] and not entry.restoring


def test_v1_keeps_them_itself(v1):
    entry = v1.outbox.add_session("local-p", PRODUCT_OPENING, restoring=1)
    v1.outbox.append(entry, kinds.OPEN, PRODUCT_OPENING)
    v1.outbox.update(entry, FIRST)
    v1.event(entry, "one")
    v1.drain()
    assert writes_to(v1, entry) == ["events"] and not entry.restoring


def test_updates_after_them_are_found_by_the_read_back(classic):
    """They are in the merged state with which the server's is compared."""
    entry = opened_with(classic)
    classic.state(entry, a=1, version="mine")
    classic.server.concerned = lambda request: request.path.endswith("/state")
    classic.server.next_faults = [None, lose_answer]
    classic.drain()
    stored = classic.server.sessions[entry.server_id]
    assert stored["state"] == {"product": "editor", "version": "mine", "a": 1}
    assert writes_to(classic, entry) == ["state", "state"]
    assert counts(entry) == CLEAN


def test_a_lost_answer_to_them_changes_nothing(classic):
    entry = opened_with(classic)
    classic.event(entry, "one")
    classic.server.concerned = lambda request: request.path.endswith("/state")
    classic.server.next_faults = [lose_answer, never_answer]
    classic.drain()
    stored = classic.server.sessions[entry.server_id]
    assert stored["state"] == {"product": "editor", "version": "2.1"}
    assert classic.server.names(entry.server_id) == ["one"] and counts(entry) == CLEAN


def test_a_session_opened_again_is_told_them_again(classic):
    entry = opened_with(classic)
    classic.drain()
    classic.run(1)
    classic.server.lose_data()
    classic.event(entry, "one")
    classic.drain()
    stored = classic.server.sessions[entry.server_id]
    assert stored["state"] == {"product": "editor", "version": "2.1"}


def test_a_successor_goes_on_where_the_first_state_was_not_sent(classic):
    entry = opened_with(classic)
    classic.event(entry, "one")
    successor = classic.again()
    successor.drain()
    (stored,) = [
        each for each in successor.server.sessions.values() if each["state"].get("product")
    ]
    assert [event["name"] for event in stored["events"]] == ["one"]
    successor.die()


def test_a_refused_first_state_is_told_of_and_holds_nothing_up(classic):
    entry = opened_with(classic)
    classic.server.concerned = lambda request: request.path.endswith("/state")
    classic.server.next_faults = [OWN_400] * 10
    classic.event(entry, "one")
    classic.drain()
    assert classic.server.names(entry.server_id) == ["one"] and not entry.restoring
    assert len(classic.warnings.about("unrestored")) == 1
    classic.server.next_faults = []
    classic.state(entry, a=1)
    classic.drain()
    assert classic.server.sessions[entry.server_id]["state"] == {"a": 1}
    assert counts(entry) == CLEAN


# What before_record sees of it


def test_the_librarys_own_events_pass_through_before_record(v1):
    v1.world.pass_(10)
    seen = []

    def redact(kind, fields):
        seen.append((kind, fields["name"]))
        return dict(fields, data={}) if fields["name"] == "session_reopened" else None

    late = v1.session(opened=False)
    late.redact = v1.entry.redact = shown_to(redact)
    v1.world.pass_(10)
    v1.drain()
    v1.end(late)
    v1.world.pass_(10)
    v1.drain()
    v1.server.lose_data()
    log(v1)
    v1.drain()
    assert seen == [
        ("event", "session_opened_offline"),
        ("event", "session_ended_offline"),
        ("event", "session_reopened"),
    ]
    (event,) = [each for each in v1.server.only_session()["events"] if "reopened" in each["name"]]
    assert not event["data"] and v1.server.names() == NAMES + ["session_reopened"]


def test_a_state_that_equals_the_opening_is_restored_on_v1_too(v1):
    """These servers put product and version into the state, but nothing else."""
    opening = build.encode(build.opening("editor", "2.1", hostname="pc1", machine_id="m"))
    entry = v1.outbox.add_session("local-h", opening)
    v1.outbox.append(entry, kinds.OPEN, opening)
    v1.state(entry, hostname="pc1", machine_id="m", a=1)
    v1.drain()
    before = v1.server.sessions[entry.server_id]["state"]
    v1.server.lose_data()
    v1.event(entry, "one")
    v1.drain()
    assert v1.server.sessions[entry.server_id]["state"] == before
    assert before["hostname"] == "pc1" and before["machine_id"] == "m"
