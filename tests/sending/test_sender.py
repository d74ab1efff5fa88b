"""Promises of the sender: what each answer of a server leads to, in which order, and when."""

from __future__ import absolute_import, division

import collections
import json

import pytest
from tools.memory_server import (
    World,
    apply_late,
    lose_answer,
    never_answer,
    portal,
    refuse,
    say,
)
from tools.sending import Bench

from datacat import errors
from datacat.records import build, kinds
from datacat.sending import delivery
from datacat.wire import backoff, verdicts

NAMES = ["one", "two", "three"]
OWN_400 = say(400, "Invalid request body\n")
HTML = "text/html"


@pytest.fixture
def bench(tmp_path):
    """Makes benches on one folder, v1 unless told otherwise."""
    made = []

    def make(**options):
        made.append(Bench(str(tmp_path / "spool"), **options))
        return made[-1]

    yield make
    for each in made:
        each.die()


@pytest.fixture(params=["v1", "classic"])
def line(request, bench):
    """A bench with an open session, of either generation; `line.entry` is the session's."""
    return prepared(bench(classic=request.param == "classic"))


@pytest.fixture
def v1(bench):
    return prepared(bench())


@pytest.fixture
def classic(bench):
    return prepared(bench(classic=True))


def prepared(made):
    """A bench whose server is recognised and whose session is open and empty."""
    made.entry = made.session()
    made.run(0.01)
    if made.server.classic:
        assert made.sender.server.recognise_by(made.entry) is None
    return made


def log(line, names=NAMES):
    for name in names:
        line.event(line.entry, name)


def counts(entry):
    return (entry.waiting, entry.dead, entry.dropped, entry.merged, entry.possibly_twice)


CLEAN = (0, 0, 0, 0, 0)


def is_write(request):
    return (
        request.method == "POST"
        and request.path.startswith("/api/sessions/")
        and (not request.path.endswith("/heartbeat"))
    )


def is_open(request):
    return request.path == "/api/sessions"


def is_read(request):
    return request.method == "GET" and request.path.startswith("/api/sessions/")


# -- 200: delivered


def test_every_kind_of_record_arrives_in_the_accepted_order(line):
    line.event(line.entry, "one", value=1)
    line.state(line.entry, a={"b": 1})
    line.metric(line.entry, "load", 0.5)
    line.append(line.entry, kinds.EXCEPTION, build.event("exception", {"type": "E"}))
    line.state(line.entry, a={"c": 2})
    line.end(line.entry)
    line.drain()
    held = line.server.only_session()
    assert line.server.names() == ["one", "exception"]
    assert held["metrics"][0]["value"] == 0.5
    assert held["state"]["a"] == {"b": 1, "c": 2}
    assert held["ended_at"]
    paths = [request.path.rsplit("/", 1)[1] for request in line.server.calls if is_write(request)]
    assert paths == ["events", "state", "metrics", "events", "state", "end"]
    assert counts(line.entry) == CLEAN and line.entry.sent == 7


def test_a_step_sends_one_record_and_says_that_there_may_be_more(line):
    log(line, ["first"])
    line.drain()
    log(line)
    before = len(line.server.sent_to("/events"))
    assert line.step() == 0.0
    assert len(line.server.sent_to("/events")) == before + 1


def test_the_sender_rests_when_nothing_waits(line):
    line.run(1.0)
    pause = line.step()
    if line.server.classic:
        assert pause is None
    else:
        assert 0 < pause <= 15.0  # the next heartbeat


def test_a_successful_answer_as_some_docs_have_it_is_one_too(v1):
    v1.server.next_faults = [say(201, '{"success":true}', "application/json", applied=True)]
    v1.server.concerned = is_write
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES and counts(v1.entry) == CLEAN


# -- not applied: later


@pytest.mark.parametrize("error", [errors.NotSent, errors.TlsFailure])
def test_what_surely_was_not_applied_is_sent_later_without_reading_back(line, error):
    def fail(server, request):
        raise error("no")

    log(line)
    line.server.fault = fail
    line.run(60)
    assert line.link.online is False and line.server.names() == []
    line.server.fault = None
    assert line.drain() <= 30.1
    assert line.server.names() == NAMES and counts(line.entry) == CLEAN
    assert len(line.warnings.about("away")) == 1


def test_the_backoff_has_full_jitter_up_to_30_seconds(bench):
    line = bench(chance=lambda: 1.0)
    entry = line.session()
    line.run(1)
    line.server.fault = refuse
    line.event(entry, "one")
    times = []
    for _ in range(10):
        struck = line.server.struck
        while line.server.struck == struck:
            line.world.pass_(line.step())
        times.append(line.world.now)
    waits = [after - before for before, after in zip(times, times[1:])]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30], abs=0.01)


def test_a_long_call_does_not_eat_up_the_wait_after_it(v1):
    """The wait begins when the call is over, not when the step began."""

    def slow_refusal(server, request):
        server.world.pass_(20.0)
        return say(503, "busy", Retry_After=30)(server, request)

    v1.run(1)
    v1.server.next_faults = [slow_refusal]
    log(v1)
    v1.step()
    assert v1.step() == pytest.approx(30.0, abs=0.1)


# -- busy: later, with Retry-After


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_busy_server_gets_the_record_later(line, status):
    line.server.next_faults = [say(status, "later\n")]
    line.server.concerned = is_write
    log(line)
    line.drain()
    assert line.server.struck == 1
    assert line.server.names() == NAMES and counts(line.entry) == CLEAN


@pytest.mark.parametrize(
    "header, least, most",
    [
        ("20", 20, 20.1),
        (10**9, 3600, 3600.1),
        ("-1", 0, 1),
        ("soon", 0, 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600, 3600.1),
        ("", 0, 1),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 1),
    ],
)
def test_a_retry_after_is_obeyed_up_to_an_hour_and_garbage_ignored(v1, header, least, most):
    v1.run(1)
    v1.server.next_faults = [say(503, "later\n", Retry_After=header)]
    log(v1)
    begun = v1.world.now
    v1.drain(within=4000)
    assert least <= v1.world.now - begun <= most
    assert v1.server.names() == NAMES


@pytest.mark.parametrize(
    "fault, cut",
    [
        (refuse, True),
        (say(503, "later", Retry_After=300), False),
        (say(500, "later", Retry_After=300), False),
        (say(500, "oops"), True),
    ],
)
def test_a_hurry_cuts_a_backoff_short_but_never_a_retry_after(v1, fault, cut):
    v1.run(1)
    v1.server.fault = fault
    log(v1)
    for _ in range(8):
        v1.run(30)
    v1.server.fault = None
    calls = len(v1.server.calls)
    v1.run(0.001)
    assert len(v1.server.calls) == calls
    v1.sender.hurry()
    v1.run(3)
    assert (v1.server.names() == NAMES) is cut


# -- ambiguous: read back

AMBIGUOUS = [
    lose_answer,
    say(500, "oops\n", applied=True),
    say(502, "<html>", HTML, applied=True),
    say(504, "", HTML, applied=True),
    say(599, "", applied=True),
    say(204, "", applied=True),
    say(200, "<html>", HTML, applied=True),
]


@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_a_record_whose_answer_was_lost_is_not_sent_again(line, fault):
    line.server.concerned = is_write
    for name in NAMES:
        line.server.next_faults.append(fault)
        line.event(line.entry, name)
        line.server.next_faults.append(fault)
        line.metric(line.entry, name)
        line.server.next_faults.append(fault)
        line.state(line.entry, **{name: {"at": line.steps}})
    line.drain()
    assert line.server.struck == 9
    assert line.server.names() == NAMES
    assert [metric["name"] for metric in line.server.only_session()["metrics"]] == NAMES
    assert set(NAMES) <= set(line.server.only_session()["state"])
    if not line.server.classic:
        assert len(line.server.only_session()["state_history"]) == 3
    assert counts(line.entry) == CLEAN


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a fault of ours")])
def test_a_record_in_whose_exchange_something_unexpected_happened_is_not_sent_twice(line, error):
    """Once: the server may have the record, whatever it was, and is asked before a second try."""

    def applied_then_raised(server, request):
        server.answer(request)
        raise error

    line.warnings.expected.add("fault")
    line.server.concerned = lambda request: request.path.endswith("/events")
    line.server.next_faults = [applied_then_raised]
    line.event(line.entry, "one")
    line.event(line.entry, "two")
    line.drain()
    assert line.server.struck == 1
    assert line.server.names() == ["one", "two"]
    assert counts(line.entry) == CLEAN


def test_a_want_of_memory_is_no_fault_of_ours_and_soon_tried_again(line):
    """Quiet: nobody is asked to report it, and what waits is delivered once there is some."""

    def raise_memory_error(server, request):
        raise MemoryError()

    line.server.concerned = lambda request: request.path.endswith("/events")
    line.server.next_faults = [raise_memory_error]
    line.event(line.entry, "one")
    began = line.world.now
    line.drain()
    assert line.server.struck == 1 and line.server.names() == ["one"]
    assert line.world.now - began < 10


@pytest.mark.parametrize(
    "fault",
    [
        never_answer,
        say(500, "oops\n"),
        say(502, "<html>", HTML),
        say(504, "", HTML),
        say(200, "<html>", HTML),
        say(204, ""),
    ],
)
def test_a_record_that_did_not_arrive_is_sent_again_after_two_looks_with_quiet_between(
    line, fault
):
    line.run(1)
    line.server.concerned = is_write
    line.server.next_faults = [fault]
    log(line)
    looks = []

    def watching(request):
        if is_read(request):
            looks.append(line.world.now)
        return is_write(request)

    line.server.concerned = watching
    line.drain()
    assert line.server.struck == 1
    assert line.server.names() == NAMES and counts(line.entry) == CLEAN
    # Classic is asked for its dialect once more where a portal may have stood between.
    assert looks[-1] - looks[-2] == pytest.approx(2.0, abs=0.01)


def test_the_quiet_period_begins_after_the_first_look_however_long_that_took(classic):
    def slow(server, request):
        server.world.pass_(20)
        return server.answer(request)

    classic.server.next_faults = [never_answer, slow]
    log(classic)
    while classic.server.next_faults:
        classic.world.pass_(classic.step())
    assert classic.step() == pytest.approx(2.0, abs=0.01)


def test_a_request_that_is_applied_late_is_found_by_the_second_look(line):
    line.run(1)
    line.server.next_faults = [apply_late(1.5)]
    log(line)
    line.drain()
    assert line.server.names() == NAMES and counts(line.entry) == CLEAN


def test_while_a_session_is_read_back_others_go_on(bench):
    line = bench(chance=lambda: 1.0)
    first, second = line.session(), line.session()
    line.run(1)
    line.event(first, "doubtful")
    line.server.next_faults = [say(500, "oops")]
    line.step()
    line.event(second, "other")
    line.run(1.0)
    assert line.server.names(second.server_id) == ["other"]
    assert line.server.names(first.server_id) == []
    line.drain()
    assert line.server.names(first.server_id) == ["doubtful"]


@pytest.mark.parametrize("kind", [kinds.END, kinds.CRASH])
def test_end_and_crash_are_repeated_without_reading_back(v1, kind):
    v1.run(1)
    v1.append(v1.entry, kind, {"reason": "r"})
    v1.server.next_faults = [lose_answer]
    before = len([request for request in v1.server.calls if is_read(request)])
    v1.drain()
    assert len(v1.server.sent_to("/" + kind)) == 2
    assert v1.entry.possibly_twice == 0
    # One read, whether the server answers for the session at all.
    assert len([request for request in v1.server.calls if is_read(request)]) <= before + 1


def test_a_server_that_took_a_lost_open_has_one_empty_session_more_and_no_record_twice(bench):
    line = bench()
    line.server.concerned = is_open
    line.server.next_faults = [lose_answer]
    entry = line.session(opened=False)
    line.event(entry, "one")
    line.drain()
    assert len(line.server.sessions) == 2
    assert [line.server.names(name) for name in line.server.sessions] == [
        [],
        ["one", "session_opened_offline"],
    ]


# -- reading back that does not work


def test_where_another_writes_into_a_classic_session_it_is_sent_again_and_counted(classic):
    classic.run(1)
    classic.entry.shared = 1
    classic.server.concerned = is_write
    classic.server.next_faults = [lose_answer]
    log(classic)
    classic.drain()
    assert classic.server.names() == ["one"] + NAMES
    assert counts(classic.entry) == (0, 0, 0, 0, 1)


def test_another_writer_does_not_matter_on_v1(v1):
    v1.entry.shared = 1
    v1.server.concerned = is_write
    v1.server.next_faults = [lose_answer]
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES and counts(v1.entry) == CLEAN


def test_on_classic_what_another_wrote_unnoticed_is_never_taken_for_a_delivery(classic):
    classic.server.only_session()["events"].append({"name": "foreign", "data": {}})
    classic.server.concerned = is_write
    classic.server.next_faults = [never_answer]
    log(classic)
    classic.drain()
    assert classic.server.names() == ["foreign"] + NAMES
    assert classic.entry.possibly_twice == 1


def test_a_shared_session_s_record_is_not_sent_again_before_the_server_answers_something(classic):
    classic.run(1)
    classic.entry.shared = 1
    classic.server.fault = never_answer
    log(classic, ["one"])
    classic.run(300)
    assert len(classic.server.sent_to("/events")) == 1
    classic.server.fault = None
    classic.drain()
    assert classic.server.names() == ["one"] and classic.entry.possibly_twice == 1


@pytest.mark.parametrize("classic", [False, True])
@pytest.mark.parametrize("failing, within", [(say(500, "too large"), 3), (never_answer, 15)])
def test_after_three_read_backs_that_fail_it_is_sent_again_and_counted(
    bench, classic, failing, within
):
    line = prepared(bench(classic=classic, chance=lambda: 0.999))
    line.run(1)
    line.server.timeout = 1.0
    line.server.concerned = is_write
    line.server.next_faults = [lose_answer]
    log(line, ["one"])
    line.step()
    line.server.concerned, line.server.fault = is_read, failing
    line.drain(within=within)
    assert line.server.struck >= 4
    assert line.server.names() == ["one", "one"] and line.entry.possibly_twice == 1


def test_a_line_that_loses_three_looks_within_moments_makes_no_copy(line):
    """Looks follow each other within a second: three of them may meet the same bad moment."""
    line.run(1)
    line.server.timeout = 0.5
    line.server.concerned = lambda request: is_read(request) or is_write(request)
    line.server.next_faults = [lose_answer] + [never_answer] * 3
    log(line, ["one"])
    line.drain()
    assert line.server.struck == 4
    assert line.server.names() == ["one"] and counts(line.entry) == CLEAN


def test_after_a_minute_of_failing_read_backs_it_is_sent_again_and_counted(bench):
    line = bench(chance=lambda: 0.999)
    line.entry = line.session()
    line.run(1)
    line.server.timeout = 65.0
    line.server.concerned = lambda request: is_read(request) or is_write(request)
    line.server.next_faults = [lose_answer] + [never_answer] * 2
    log(line, ["one"])
    line.drain(within=200)
    assert line.server.struck == 3
    assert line.server.names() == ["one", "one"] and line.entry.possibly_twice == 1


def test_a_session_too_large_to_read_is_sent_again_and_counted_after_one_look(line, monkeypatch):
    monkeypatch.setattr("datacat.sending.server.CLASSIC_READ_BACK_BYTES", 2000)
    monkeypatch.setattr("datacat.sending.server.V1_READ_BACK_BYTES", 2000)
    log(line, ["x" * 100] * 50)
    line.drain()
    line.server.concerned = is_write
    line.server.next_faults = [never_answer]
    log(line, ["last"])
    before = len([request for request in line.server.calls if is_read(request)])
    line.drain()
    assert len([request for request in line.server.calls if is_read(request)]) == before + 1
    assert line.server.names()[50:] == ["last"] and line.entry.possibly_twice == 1


def test_read_backs_fail_without_end_and_count_nothing_while_nobody_speaks(line):
    """A portal or a dead server is no reason to send something twice."""
    line.server.concerned = is_write
    line.server.next_faults = [lose_answer]
    log(line)
    line.step()
    for fault in (
        refuse,
        portal,
        say(502, "<html>", HTML),
        say(302, ""),
        say(401, "Unauthorized"),
        say(503, "busy"),
    ):
        line.server.concerned, line.server.fault = (lambda request: True), fault
        line.run(400)
    assert counts(line.entry)[1:] == CLEAN[1:]
    line.server.fault = None
    line.drain()
    assert line.server.names() == NAMES and counts(line.entry) == CLEAN


def test_a_portal_s_page_is_never_taken_for_a_session_without_the_record(v1):
    """A 200 with HTML to the GET must not make what arrived be sent again."""
    v1.run(1)
    v1.server.next_faults = [lose_answer] + [portal] * 20
    v1.server.concerned = lambda request: request.method == "GET" or is_write(request)
    log(v1, ["one"])
    v1.drain(within=600)
    assert v1.server.names() == ["one"] and counts(v1.entry) == CLEAN


# -- the head of an outbox that somebody else had


@pytest.mark.parametrize("arrived", [True, False])
def test_the_oldest_record_of_a_dead_process_is_looked_for_before_it_is_sent(line, arrived):
    log(line)
    if arrived:
        head = line.outbox.head(line.entry)
        line.server.call(line.sender.server.dialect.send(head, line.entry.server_id, False))
    successor = line.again()
    successor.drain()
    assert successor.server.names() == NAMES
    assert successor.outbox.find(line.entry.local_id) is None or (
        counts(successor.outbox.find(line.entry.local_id)) == CLEAN
    )
    successor.die()


def test_the_same_process_that_closed_in_doubt_asks_again_before_it_sends(line):
    line.run(1)
    line.server.concerned = is_write
    line.server.next_faults = [lose_answer]
    log(line)
    line.step()
    line.employ()
    line.drain()
    assert line.server.names() == NAMES and counts(line.entry) == CLEAN


def test_what_is_logged_after_a_reopening_is_no_doubtful_head(line):
    line.run(1)
    line.employ()
    log(line)
    assert line.drain() < 1.0


# -- 404 session not found: reopen


def test_a_lost_session_is_opened_again_with_its_state_first_and_an_event(line):
    line.state(line.entry, a={"b": 1}, c=None)
    line.state(line.entry, a={"d": 2})
    line.drain()
    old = line.entry.server_id
    state = {name: value for name, value in line.server.only_session()["state"].items()}
    line.server.lose_data()
    log(line)
    line.drain()
    assert line.entry.server_id != old
    held = line.server.only_session()
    assert held["state"] == state
    assert line.server.names() == NAMES + ["session_reopened"]
    assert held["events"][-1]["data"] == {"lost_session_id": old}
    writes = [
        request.path.rsplit("/", 1)[1]
        for request in line.server.calls
        if line.entry.server_id in request.path and request.method == "POST"
    ]
    assert writes[0] == "state"
    assert counts(line.entry) == CLEAN


def test_a_lost_session_without_state_is_opened_again_and_nothing_restored(line):
    line.server.lose_data()
    log(line)
    line.drain()
    assert line.server.names() == NAMES + ["session_reopened"]
    assert not line.server.sent_to("/state")


def test_a_session_is_opened_again_at_most_once_in_ten_minutes(line):
    line.server.lose_data()
    log(line)
    line.drain()
    begun = line.world.now
    line.server.lose_data()
    log(line, ["late"])
    line.run(500)
    line.sender.hurry()
    line.run(60)
    assert not line.server.sessions and line.entry.waiting == 1
    assert len(line.warnings.about("session local-1")) == 1
    line.drain(within=600)
    assert 595 <= line.world.now - begun <= 601
    assert line.server.names() == ["late", "session_reopened"]


def test_a_session_that_waits_to_be_opened_again_holds_back_only_itself(v1):
    other = v1.session()
    for _ in range(2):
        v1.server.sessions.pop(v1.entry.server_id)
        log(v1)
        v1.run(5)
    v1.event(other, "other")
    v1.run(1)
    assert v1.server.names(other.server_id) == ["other"]
    assert v1.entry.waiting > 0


def test_a_loss_found_while_reading_back_opens_again_too(line):
    def lose(server, request):
        server.lose_data()
        return never_answer(server, request)

    line.server.concerned = is_write
    line.server.next_faults = [lose]
    log(line)
    line.drain()
    assert line.server.names() == NAMES + ["session_reopened"]
    assert counts(line.entry) == CLEAN


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


def test_a_state_that_the_server_does_not_take_again_does_not_hold_up_its_session(v1):
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


def test_another_404_is_no_loss_of_a_session(line):
    line.server.concerned = is_write
    line.server.fault = say(404, "Not found\n")
    log(line)
    line.run(100)
    assert line.entry.server_id == "server-1" and line.entry.waiting == 3


# -- poison


@pytest.mark.parametrize(
    "fault",
    [
        OWN_400,
        say(422, "Invalid request body\n"),
        say(413, "<html>too large", HTML),
        say(400, "Bad Request\n"),
    ],
)
def test_a_record_that_a_server_refuses_becomes_a_dead_letter_and_the_next_goes_on(line, fault):
    line.server.poison = {"two": fault}
    log(line)
    line.drain()
    assert line.server.names() == ["one", "three"]
    assert counts(line.entry) == (0, 1, 0, 0, 0)
    (letter,) = line.outbox.dead_letters()
    assert json.loads(letter.record.body.decode("ascii"))["name"] == "two"
    assert letter.status in (400, 413, 422) and letter.words
    assert len(line.warnings.about("dead")) == 1


def test_after_three_refusals_in_the_same_words_nothing_is_buried_while_reads_fail_too(line):
    """Something on the way that says what a datacat server says costs two records at most."""
    line.server.concerned = lambda request: request.path.startswith("/api/sessions/")
    line.server.fault = OWN_400
    log(line, ["%d" % number for number in range(20)])
    line.run(1200)
    assert line.entry.dead == 2 and line.entry.waiting == 18
    line.server.fault = None
    line.drain()
    assert line.server.names() == ["%d" % number for number in range(2, 20)]


def test_a_service_with_plain_words_of_its_own_costs_no_record_at_all(line):
    line.server.concerned = lambda request: request.path.startswith("/api/sessions/")
    line.server.fault = say(400, "Client sent an HTTP request to an HTTPS server.\n")
    log(line)
    line.run(1200)
    assert line.entry.dead == 0 and line.entry.waiting == 3
    assert len(line.warnings.about("refused")) == 1


def test_many_poison_records_in_a_row_are_all_buried_where_reads_are_answered(line):
    line.server.poison = {"bad": OWN_400}
    log(line, ["bad"] * 10 + ["good"])
    assert line.drain() < 5
    assert line.server.names() == ["good"] and line.entry.dead == 10
    reads = [request for request in line.server.calls if is_read(request)]
    assert len(reads) <= 5


@pytest.mark.parametrize(
    "fault",
    [
        say(500, "oops"),
        say(502, "<html>", HTML),
        never_answer,
        say(403, "<html>blocked", HTML),
        say(400, "<html>blocked", HTML),
        say(451, "<html>blocked", HTML),
        say(405, "no"),
        say(204, ""),
    ],
)
def test_a_record_that_fails_by_itself_for_ten_minutes_becomes_a_dead_letter(line, fault):
    line.server.poison = {"two": fault}
    log(line)
    begun = line.world.now
    line.run(590)
    assert line.server.names() == ["one"] and line.entry.dead == 0
    line.drain(within=400)
    assert line.world.now - begun >= 600
    assert line.server.names() == ["one", "three"]
    assert (line.entry.dead, line.entry.waiting) == (1, 0)
    assert (
        len([name for name in map(_name_of, line.server.sent_to("/events")) if name == "two"])
        >= 10
    )


def _name_of(request):
    return json.loads(request.body.decode("ascii"))["name"]


@pytest.mark.parametrize(
    "fault",
    [say(500, "oops"), never_answer, say(403, "<html>blocked", HTML), say(405, "no"), OWN_400],
)
def test_poison_in_one_session_does_not_hold_back_another(line, fault):
    other = line.session()
    line.server.poison = {"bad": fault}
    log(line, ["bad", "after"])
    sent = 0
    for _ in range(60):
        line.event(other, "good")
        sent += 1
        line.run(20)
    line.run(20)
    assert line.server.names(other.server_id) == ["good"] * sent
    assert line.server.names(line.entry.server_id) == ["after"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_record_that_is_always_answered_with_not_now_is_not_given_up(line, status):
    """A server that takes no records for hours says the same, though it answers reads."""
    line.server.poison = {"two": say(status, "busy")}
    log(line)
    line.run(3600)
    assert line.server.names() == ["one"]
    assert (line.entry.dead, line.entry.waiting) == (0, 2)
    assert len(line.warnings.about("away")) == 1


def test_on_a_shared_classic_session_a_poison_record_is_sent_less_and_less_often(classic):
    classic.entry.shared = 1
    classic.server.poison = {"one": say(500, "oops")}
    log(classic)
    classic.run(1500)
    assert classic.server.names() == ["two", "three"] and classic.entry.dead == 1
    assert len(classic.server.sent_to("/events")) < 80


@pytest.mark.parametrize(
    "fault",
    [
        refuse,
        say(503, "busy"),
        portal,
        say(302, "", Location="http://portal/"),
        say(401, "Unauthorized\n"),
        say(403, "Forbidden", HTML),
        say(407, "Proxy"),
        say(405, "no"),
        say(501, "no"),
        say(404, "404 page not found\n"),
        say(400, "<html>no", HTML),
        say(451, "<html>no", HTML),
        say(402, "pay"),
        say(418, "teapot"),
        say(502, "<html>", HTML),
        say(500, "<html>", HTML),
        say(204, ""),
        never_answer,
        say(100, ""),
    ],
)
def test_nothing_is_given_up_for_what_a_whole_server_says_however_long(line, fault):
    """Nothing is lost to a wrong key, a portal or another service on the port."""
    log(line, ["%d" % number for number in range(5)])
    line.server.fault = fault
    line.run(3600)
    assert counts(line.entry) == (5, 0, 0, 0, 0)
    line.server.fault = None
    assert line.drain() <= 62
    assert line.server.names() == ["%d" % number for number in range(5)]
    assert counts(line.entry) == CLEAN


def test_an_outage_before_a_failure_is_not_held_against_the_record(line):
    log(line)
    line.server.fault = refuse
    line.run(1200)
    line.server.fault = None
    line.server.concerned = is_write
    line.server.next_faults = [say(500, "oops")] * 3
    line.drain()
    assert line.server.names() == NAMES and line.entry.dead == 0


# -- refused as a whole


@pytest.mark.parametrize(
    "status, words, kind",
    [
        (302, "", HTML),
        (401, "Unauthorized\n", "text/plain"),
        (403, "<h1>Forbidden</h1>", HTML),
        (405, "Method not allowed\n", "text/plain"),
        (451, "<html>blocked</html>", HTML),
    ],
)
def test_one_warning_says_what_answered_and_everything_waits(line, status, words, kind):
    line.server.fault = say(status, words, kind)
    log(line)
    line.run(300)
    (warning,) = line.warnings.about("refused")
    assert str(status) in warning and words.strip() in warning
    assert [topic for topic, _ in line.warnings.said] == ["refused"]
    calls = len(line.server.calls)
    line.run(60)
    assert len(line.server.calls) - calls <= 8


def test_a_new_outage_is_told_again_and_one_and_the_same_only_once(line):
    for _ in range(2):
        line.server.fault = refuse
        log(line, ["x"])
        line.run(100)
        line.server.fault = None
        line.drain()
    assert len(line.warnings.about("away")) == 2


# -- opening


def test_an_open_goes_first_then_the_oldest_record(bench):
    line = bench(classic=True)
    first, second = line.session(), line.session()
    line.event(first, "1")
    line.world.pass_(1)
    line.event(second, "2")
    line.world.pass_(1)
    line.event(first, "3")
    line.sender.server.recognise_by(first)
    third = line.session(opened=False)
    calls = len(line.server.calls)
    line.drain()
    assert [
        (request.path, request.path.endswith("events") and _name_of(request))
        for request in line.server.calls[calls:]
    ] == [
        ("/api/sessions", False),
        ("/api/sessions/%s/events" % first.server_id, "1"),
        ("/api/sessions/%s/events" % second.server_id, "2"),
        ("/api/sessions/%s/events" % first.server_id, "3"),
    ]
    assert third.server_id


@pytest.mark.parametrize(
    "fault, kind",
    [
        (say(400, "Product and version are required fields\n"), errors.RequestRefused),
        (say(400, "anything in one line\n"), errors.RequestRefused),
        (say(401, "Unauthorized\n"), errors.NotAuthorized),
        (say(403, "not this product\n"), errors.NotAuthorized),
    ],
)
def test_a_refusal_of_an_open_in_a_datacat_server_s_own_words_is_handed_on(bench, fault, kind):
    line = bench()
    line.server.concerned, line.server.fault = is_open, fault
    entry = line.session(opened=False)
    line.run(1)
    assert type(entry.refusal) is kind
    assert entry.refusal.words


@pytest.mark.parametrize(
    "fault",
    [
        say(403, "<html>Forbidden</html>", HTML),
        say(403, "Forbidden", ""),
        say(400, "<html>blocked</html>", HTML),
        say(451, "<html>", HTML),
        say(405, "no\n"),
        say(401, "<html>log in</html>", HTML),
        say(407, "credentials\n"),
        portal,
        refuse,
        say(404, "session not found\n"),
    ],
)
def test_any_other_refusal_of_an_open_makes_the_session_wait(bench, fault):
    line = bench()
    line.server.concerned, line.server.fault = is_open, fault
    entry = line.session(opened=False)
    line.event(entry, "one")
    line.run(600)
    assert entry.refusal is None and entry.waiting == 2
    line.server.fault = None
    line.drain()
    assert line.server.names()[0] == "one"


def test_a_plain_403_is_nobody_s_own_words_where_no_datacat_server_is_known(bench):
    line = bench(classic=True)
    line.server.concerned, line.server.fault = is_open, say(403, "Forbidden\n")
    entry = line.session(opened=False)
    line.run(100)
    assert entry.refusal is None and entry.waiting == 1


def test_a_refusal_that_comes_later_makes_only_its_session_wait_with_one_warning(v1):
    v1.server.concerned = lambda request: b'"bad"' in (request.body or b"")
    v1.server.fault = OWN_400
    bad = v1.outbox.add_session("local-bad", b'{"product":"bad","version":"1"}')
    v1.outbox.append(bad, kinds.OPEN, bad.opening)
    v1.run(100)
    log(v1)
    v1.run(100)
    assert v1.server.names("server-1") == NAMES and bad.waiting == 1
    assert len(v1.warnings.about("session local-bad")) == 1
    v1.server.fault = None
    v1.drain()
    assert bad.refusal is None and bad.server_id == "server-2"


@pytest.mark.parametrize("fault", [say(500, "oops"), never_answer, OWN_400])
def test_an_open_that_never_works_does_not_starve_the_others(v1, fault):
    v1.server.concerned = lambda request: b'"bad"' in (request.body or b"")
    v1.server.fault = fault
    bad = v1.outbox.add_session("local-bad", b'{"product":"bad","version":"1"}')
    v1.outbox.append(bad, kinds.OPEN, bad.opening)
    names = ["%d" % number for number in range(200)]
    log(v1, names)
    v1.run(120)
    assert v1.server.names("server-1") == names


def test_a_session_withdrawn_while_it_is_being_opened_harms_nothing(bench):
    line = bench()
    entry = line.session(opened=False)

    def withdraw(server, request):
        line.outbox.forget(entry)
        return server.answer(request)

    line.server.concerned, line.server.next_faults = is_open, [withdraw]
    line.run(10)
    other = line.session()
    line.event(other, "one")
    line.drain()
    assert line.server.names(other.server_id) == ["one"]


def test_an_open_record_that_the_disk_kept_is_not_sent_again(v1):
    v1.outbox.append(v1.entry, kinds.OPEN, v1.entry.opening)
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES and len(v1.server.sessions) == 1


# -- times


def test_what_was_opened_and_ended_offline_tells_when(line):
    other = line.session(opened=False)
    line.event(other, "one")
    line.end(other)
    opened_at = line.outbox.head(other).captured
    line.world.pass_(3600)
    line.drain()
    events = line.server.sessions[other.server_id]["events"]
    assert [event["name"] for event in events] == [
        "one",
        "session_opened_offline",
        "session_ended_offline",
    ]
    assert events[1]["data"] == {"happened_at": kinds.rfc3339(opened_at)}
    assert line.server.sessions[other.server_id]["ended_at"]


def test_what_is_opened_and_ended_at_once_adds_no_event(line):
    line.end(line.entry)
    line.drain()
    assert line.server.names() == []


@pytest.mark.parametrize("seconds, late", [(4.9, False), (5.2, True)])
def test_on_classic_a_record_sent_late_carries_when_it_was_captured(classic, seconds, late):
    classic.event(classic.entry, "one", value=1)
    stamp = kinds.rfc3339(classic.outbox.head(classic.entry).captured)
    classic.metric(classic.entry, "m")
    classic.world.pass_(seconds)
    classic.drain()
    data = classic.server.only_session()["events"][0]["data"]
    tags = classic.server.only_session()["metrics"][0]["tags"]
    assert data == ({"value": 1, "_captured_at": stamp} if late else {"value": 1})
    assert bool(tags) is late


def test_late_stamps_can_be_switched_off_and_v1_has_none(bench):
    for options in ({"classic": True, "stamp_late": False}, {"classic": False}):
        line = bench(**options)
        entry = line.session()
        line.event(entry, "one")
        line.world.pass_(60)
        line.drain()
        assert line.server.only_session()["events"][0]["data"] == {}


@pytest.mark.parametrize("wall", [0.0, 4e9])
def test_a_wall_clock_that_jumps_loses_and_repeats_nothing(line, wall):
    log(line)
    line.world.set_wall(wall)
    log(line, ["four"])
    line.server.concerned = is_write
    line.server.next_faults = [lose_answer, never_answer]
    line.drain()
    assert [name for name in line.server.names()] == NAMES + ["four"]
    assert counts(line.entry) == CLEAN


# -- heartbeats


def test_a_v1_server_hears_every_15_seconds_that_a_session_lives_while_it_does(v1):
    v1.run(0.1)
    begun = len(v1.server.sent_to("/heartbeat"))
    v1.run(60)
    assert len(v1.server.sent_to("/heartbeat")) - begun == 4
    v1.end(v1.entry)
    v1.run(1)
    ended = len(v1.server.sent_to("/heartbeat"))
    v1.run(60)
    assert len(v1.server.sent_to("/heartbeat")) == ended
    assert v1.step() is None


def test_classic_gets_no_heartbeats(classic):
    classic.run(100)
    assert not classic.server.sent_to("/heartbeat")


@pytest.mark.parametrize("fault", [say(404, "Not found\n"), say(500, "oops"), say(400, "no")])
def test_a_heartbeat_that_is_not_taken_holds_nothing_up(v1, fault):
    v1.server.concerned = lambda request: request.path.endswith("/heartbeat")
    v1.server.fault = fault
    for number in range(10):
        log(v1, ["%d" % number])
        v1.run(10)
    assert v1.server.struck > 3 and v1.entry.waiting == 0
    assert v1.link.online is True


def test_heartbeats_are_never_queued(v1):
    v1.server.fault = refuse
    v1.run(300)
    v1.server.fault = None
    before = len(v1.server.sent_to("/heartbeat"))
    v1.run(31)
    assert 1 <= len(v1.server.sent_to("/heartbeat")) - before <= 3


# -- which dialect


def test_classic_is_concluded_from_unknown_health_and_a_session_without_v1_s_fields(bench):
    classic = bench(classic=True)
    classic.entry = classic.session()
    assert classic.sender.server.dialect is None
    log(classic)
    classic.drain()
    assert classic.sender.server.dialect.name == "classic"
    reads = [request for request in classic.server.calls if is_read(request)]
    healths = [request for request in classic.server.calls if request.path == "/health"]
    assert len(reads) == 1 and len(healths) == 1


def test_a_v1_server_whose_health_is_hidden_is_known_by_a_session_s_fields(bench):
    line = bench()
    line.server.concerned = lambda request: request.path == "/health"
    line.server.fault = say(403, "no", HTML)
    entry = line.session()
    line.event(entry, "one")
    line.drain()
    assert line.sender.server.dialect.name == "v1"
    assert line.server.only_session()["events"][0]["timestamp"].endswith("Z")


def test_a_portal_is_never_taken_for_a_classic_server(v1):
    v1.employ()
    v1.server.fault = portal
    log(v1)
    v1.run(300)
    assert v1.sender.server.dialect is None
    v1.server.fault = None
    v1.drain()
    assert v1.sender.server.dialect.name == "v1" and v1.server.names() == NAMES


@pytest.mark.parametrize("outage", [refuse, say(503, "busy"), say(502, "", HTML), portal])
def test_after_an_outage_the_server_is_asked_again_what_it_is(classic, outage):
    log(classic)
    classic.drain()
    classic.server.fault = outage
    log(classic)
    classic.run(60)
    classic.server.fault = None
    classic.server.classic = False
    held = classic.server.only_session()
    classic.server.sessions["server-1"] = collections.OrderedDict(
        [("id", "server-1"), ("suspended", False)] + list(held.items())
    )
    classic.drain()
    assert classic.sender.server.dialect.name == "v1"
    assert classic.server.names() == NAMES * 2


def test_a_server_that_lost_a_session_is_asked_again_what_it_is(classic):
    classic.server.classic = False
    classic.server.lose_data()
    log(classic)
    classic.drain()
    assert classic.sender.server.dialect.name == "v1"


# -- more logged than delivered


def test_a_backlog_that_grows_for_ten_minutes_is_told_once_and_why(classic):
    classic.run(1)

    def slow(server, request):
        server.world.pass_(1.0)
        return server.answer(request)

    classic.server.fault = slow
    for _ in range(500):
        log(classic)
        classic.run(2)
    (warning,) = classic.warnings.about("backlog")
    assert "slow" in warning and "records wait" in warning


def test_a_backlog_behind_a_dead_server_names_the_error(v1):
    v1.server.fault = refuse
    for _ in range(200):
        log(v1)
        v1.run(5)
    (warning,) = v1.warnings.about("backlog")
    assert "connection refused" in warning


def test_a_burst_that_is_worked_off_is_not_told(classic):
    classic.server.timeout = 1.0
    log(classic, ["x"] * 2000)
    classic.drain()
    classic.run(2000)
    assert not classic.warnings.about("backlog")


def test_more_and_more_records_that_are_all_delivered_are_no_backlog(classic):
    for number in range(1, 8):
        log(classic, ["x"] * number)
        classic.drain()
        classic.run(299)
    assert not classic.warnings.about("backlog")


# -- the outbox fails


def test_a_disk_that_does_not_give_a_record_is_not_asked_without_end(v1, monkeypatch):
    log(v1)
    monkeypatch.setattr(v1.outbox, "head", lambda number: None)
    before = v1.steps
    v1.run(60)
    assert v1.steps - before < 150
    monkeypatch.undo()
    v1.drain()
    assert v1.server.names() == NAMES


def test_a_fault_in_one_session_holds_back_only_that_one_and_is_told(v1, monkeypatch):
    other = v1.session()
    told = []
    v1.sender._warn = lambda topic, message: told.append((topic, message))
    v1.sender._warn.clear = None
    really = v1.outbox.settle

    def broken(entry, record, *state):
        if entry is v1.entry:
            raise RuntimeError("unforeseen")
        return really(entry, record, *state)

    monkeypatch.setattr(v1.outbox, "settle", broken)
    log(v1)
    v1.event(other, "good")
    v1.run(10)
    assert v1.server.names(other.server_id) == ["good"]
    assert told[0][0] == "fault" and "unforeseen" in told[0][1]


# -- a state's size


def test_a_state_too_large_to_keep_is_delivered_and_not_restored(line):
    line.state(line.entry, big="x" * 300000)
    line.state(line.entry, a=1)
    line.drain()
    line.server.lose_data()
    line.state(line.entry, b=2)
    line.drain()
    held = line.server.only_session()["state"]
    assert held["b"] == 2 and "a" not in held
    line.server.lose_data()
    line.world.pass_(1000)
    line.event(line.entry, "one")
    line.drain()
    assert line.server.only_session()["state"]["b"] == 2


def test_constants_are_the_design_s():
    assert (backoff.QUIET_PERIOD, delivery.REOPEN_SECONDS, verdicts.READ_BACK_SECONDS) == (
        2,
        600,
        60,
    )


def test_a_world_runs_its_clocks_alike():
    world = World()
    world.pass_(5)
    assert (world.now, world.wall()) == (1005.0, 1767323050.0)
