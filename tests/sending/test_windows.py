"""Promises of windows: many records in flight, each delivered once and in order all the same."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import lose_answer, never_answer, say
from tools.sending import CLEAN, HTML, OWN_400, counts, is_event, is_read, is_write, name_of

from datacat import errors
from datacat.outbox import shared
from datacat.sending import looks

BROKE = errors.OutcomeUnknown("the connection broke")
MANY = ["e%03d" % number for number in range(200)]


@pytest.fixture
def wide(bench):
    """A bench whose server takes windows, with an open session."""
    bench.server.windows = True
    return bench


def log(bench, names):
    for name in names:
        bench.event(bench.entry, name)


def widths(bench):
    """Return how many records each step sends from now on until nothing waits."""
    found = []
    while bench.entry.waiting:
        before = len([request for request in bench.server.calls if is_write(request)])
        pause = bench.step()
        found.append(len([r for r in bench.server.calls if is_write(r)]) - before)
        bench.world.pass_(pause)
    return [width for width in found if width]


def widened(bench):
    """Let the width of windows grow to its limit."""
    log(bench, MANY)
    bench.drain()
    log(bench, MANY)
    bench.drain()
    del bench.server.calls[:]
    return bench


def step_with(bench, call_all):
    """Take a step in which something else answers the window."""
    bench.server.call_all = call_all
    bench.step()
    del bench.server.call_all


def lose_answers(bench):
    """Take a step in which a window is applied, and the connection breaks before any answer."""
    answer = bench.server.call_all
    step_with(bench, lambda requests: (answer(requests)[0][:0], BROKE))


def test_windows_are_narrow_until_the_order_is_checked_and_double_then(wide):
    log(wide, MANY)
    found = widths(wide)
    assert found[:6] == [4, 4, 4, 8, 16, 32] and max(found) == 64
    assert wide.server.names() == MANY
    # Behind each of the first three; a classic server's first one shows what it is.
    assert len(wide.reads()) == (4 if wide.server.classic else 3)
    log(wide, MANY)
    assert max(widths(wide)) == 64


def test_a_single_record_goes_alone(wide):
    log(widened(wide), ["one"])
    assert widths(wide) == [1]


@pytest.mark.parametrize("option, most", [(1, 1), (7, 7)])
def test_the_option_window_bounds_what_is_in_flight(make_bench, option, most):
    bench = make_bench(window=option)
    bench.server.windows = True
    bench.entry = bench.session()
    log(bench, MANY)
    assert max(widths(bench)) == most
    assert bench.server.names() == MANY


def test_a_window_has_at_most_256_kib(wide):
    widened(wide)
    for number in range(100):
        wide.event(wide.entry, "large", number=number, text="%030000d" % number)
    del wide.server.calls[:]
    found, start = widths(wide), 0
    bodies = [request.body for request in wide.server.calls if is_event(request)]
    for width in found:
        assert sum(map(len, bodies[start : start + width])) <= 256 * 1024
        start += width
    assert len(bodies) == 100


@pytest.mark.parametrize("size, alone", [(70000, True), (1000, False)])
def test_a_record_over_64_kib_goes_alone(v1, size, alone):
    v1.server.windows = True
    widened(v1)
    log(v1, ["before"])
    v1.event(v1.entry, "large", text="x" * size)
    log(v1, ["after"])
    assert (1 in widths(v1)) == alone


def test_records_of_all_kinds_go_together_and_an_end_comes_last(wide):
    widened(wide)
    wide.state(wide.entry, a={"b": 1})
    wide.metric(wide.entry, "load", 0.5)
    log(wide, ["one"])
    wide.state(wide.entry, a={"c": 2})
    wide.end(wide.entry)
    assert widths(wide) == [5]
    there = wide.server.only_session()
    assert there["state"]["a"] == {"b": 1, "c": 2} and there["ended_at"]
    assert counts(wide.entry) == CLEAN


def test_a_window_is_settled_in_one_transaction(wide):
    widened(wide)
    log(wide, MANY[:50])
    before = wide.outbox.disk.changed
    assert widths(wide) == [50]
    assert wide.outbox.disk.changed == before + 1


# Trouble


@pytest.mark.parametrize("answered", [0, 1, 3, 49])
@pytest.mark.parametrize("applied", [0, 1, 5])
def test_what_was_applied_of_a_broken_window_arrives_once(wide, answered, applied):
    """Some requests were answered, some more were applied, the rest got lost."""
    widened(wide)
    log(wide, MANY[:50])

    def cut(server, request):
        for later in pending[: max(0, applied)]:
            server.answer(later)
        raise errors.OutcomeUnknown("the connection broke")

    names = MANY[answered : answered + applied]
    pending = []
    make = wide.server.call_all

    def call_all(requests):
        pending[:] = requests[answered:]
        return make(requests)

    wide.server.call_all = call_all
    wide.server.concerned = lambda request: is_event(request) and name_of(request) in names[:1]
    if not names:
        wide.server.concerned = (
            lambda request: is_event(request) and name_of(request) == MANY[answered]
        )
    wide.server.next_faults = [cut]
    wide.drain()
    assert wide.server.names()[400:] == MANY[:50]
    assert counts(wide.entry) == CLEAN
    assert wide.server.struck == 1


def test_a_whole_window_that_is_found_needs_no_second_look(wide):
    widened(wide)
    log(wide, MANY[:8])
    wide.server.concerned = lambda request: is_event(request) and name_of(request) == "e007"
    wide.server.next_faults = [lose_answer]
    before = len(wide.reads())
    assert wide.drain() < 12
    assert len(wide.reads()) == before + 1
    assert wide.server.names()[400:] == MANY[:8] and counts(wide.entry) == CLEAN


def test_a_broken_window_is_looked_up_whole_though_its_records_are_not_at_hand(wide):
    """The disk refuses new records meanwhile, so that only the oldest one is at hand."""
    widened(wide)
    log(wide, MANY[:20])
    lose_answers(wide)
    front = wide.outbox.front
    wide.outbox.front = lambda entry, most: front(entry, 1)
    wide.drain()
    assert wide.server.names()[400:] == MANY[:20] and counts(wide.entry) == CLEAN


def test_a_window_that_cannot_be_looked_up_is_counted_whole(classic):
    """A forked child left its mark beside the outbox while the window was on the way."""
    classic.server.windows = True
    widened(classic)
    log(classic, MANY[:8])
    lose_answers(classic)
    assert shared.mark_shared(classic.outbox.path, classic.entry.server_id)
    classic.drain()
    assert classic.entry.possibly_twice == 8
    assert len(classic.server.names()) == 400 + 16


def test_growth_restarts_the_quiet_two_seconds(v1):
    """Requests that were cut off go on being applied on a dark line."""
    v1.server.windows = True
    widened(v1)
    log(v1, MANY[:10])

    def dark(server, request):
        for place, later in enumerate(requests):
            server.late.append((server.world.now + 1.5 * (place + 1), later))
        raise errors.OutcomeUnknown("the line went dark")

    requests = []
    begun = v1.world.now
    step_with(v1, lambda window: (requests.extend(window[:4]), ([], _raised(v1, dark)))[1])
    v1.drain()
    assert v1.server.names()[400:] == MANY[:10] and counts(v1.entry) == CLEAN
    assert v1.world.now - begun > 6 + 2


def _raised(bench, fault):
    try:
        fault(bench.server, None)
    except errors.DatacatError as error:
        return error


def test_after_a_broken_window_the_width_is_halved(wide):
    widened(wide)
    log(wide, MANY[:100])
    wide.server.next_faults = [never_answer]
    wide.server.concerned = is_event
    found = widths(wide)
    # The record that was blamed goes alone.
    assert found[:3] == [1, 1, 32], found
    assert wide.server.names()[400:] == MANY[:100]


def test_a_record_that_breaks_each_window_is_the_only_one_that_is_given_up(wide):
    """Something on the way cuts the connection at its words, before it passes anything on."""
    other = wide.session()
    widened(wide)
    whole = wide.server.call_all

    def call_all(requests):
        if any(is_event(each) and name_of(each) == "bad" for each in requests):
            return [], errors.OutcomeUnknown("the connection broke")
        return whole(requests)

    wide.server.call_all = call_all
    wide.server.poison["bad"] = never_answer
    del wide.server.sessions[wide.entry.server_id]["events"][:]
    wide.outbox.update(wide.entry, events=0)
    log(wide, ["before", "bad", "after"])
    for _ in range(100):
        for name in MANY[:64]:
            wide.event(other, name)
        wide.run(10)
    assert wide.server.names(wide.entry.server_id) == ["before", "after"]
    assert (wide.entry.dead, other.dead, other.waiting) == (1, 0, 0)


def test_a_record_that_the_server_refuses_is_buried_and_the_others_stand(wide):
    widened(wide)
    wide.server.poison["e003"] = OWN_400
    log(wide, MANY[:8])
    assert widths(wide) == [8]
    assert wide.server.names()[400:] == MANY[:3] + MANY[4:8]
    assert counts(wide.entry) == (0, 1, 0, 0, 0)
    assert wide.entry.overtaken == 0


@pytest.mark.parametrize(
    "answer",
    [say(503, "busy"), say(429, "slow down"), say(401, "Unauthorized\n"), say(200, "<p>", HTML)],
    ids=["503", "429", "401", "html"],
)
def test_a_refusal_in_a_window_ends_windows_for_a_while(wide, answer):
    """What was overtaken is sent again, and counted."""
    widened(wide)
    wide.server.concerned = lambda request: is_event(request) and name_of(request) == "e003"
    wide.server.next_faults = [answer]
    log(wide, MANY[:8])
    found = widths(wide)
    assert found[0] == 8 and set(found[1:]) == {1}
    assert wide.server.names()[400:] == MANY[:3] + MANY[4:8] + ["e003"]
    assert counts(wide.entry)[:4] == CLEAN[:4]
    assert wide.entry.overtaken == 1
    log(wide, MANY[:4])
    assert set(widths(wide)) == {1}
    wide.run(700)
    log(wide, MANY[:4])
    assert widths(wide) == [4]


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_a_fault_in_a_window_leaves_only_that_record_in_doubt(wide, applied, same):
    """Also with equal contents, which a classic server cannot tell apart."""
    widened(wide)
    names = ["tick"] * 8 if same else MANY[:8]
    answered = []

    def is_fourth(request):
        answered.append(request)
        return len(answered) == 4

    wide.server.concerned = is_fourth
    wide.server.next_faults = [say(500, "oops", applied=applied)]
    log(wide, names)
    wide.drain()
    assert sorted(wide.server.names()[400:]) == names
    assert counts(wide.entry) == CLEAN


def test_a_session_that_is_lost_in_a_window_is_opened_again_with_all_its_records(wide):
    widened(wide)
    log(wide, MANY[:8])
    wide.server.lose_data()
    wide.drain()
    assert [name for name in wide.server.names() if name.startswith("e")] == MANY[:8]
    assert counts(wide.entry) == CLEAN


@pytest.mark.parametrize("applied", [0, 2])
def test_a_refusal_and_a_break_in_one_window_lose_and_double_nothing(wide, applied):
    """e003 is refused, e004 is taken, then the connection breaks; some more were applied."""
    widened(wide)

    def call_all(requests):
        answers = [wide.server.answer(request) for request in requests[:3]]
        answers.append(say(503, "busy")(wide.server, requests[3]))
        answers.append(wide.server.answer(requests[4]))
        for request in requests[5 : 5 + applied]:
            wide.server.answer(request)
        return answers, BROKE

    log(wide, MANY[:10])
    step_with(wide, call_all)
    wide.drain()
    assert wide.entry.overtaken >= 1
    if wide.server.classic:
        # It cannot tell the refused record from one that arrived: copies are counted.
        copies = len(wide.server.names()[400:]) - 10
        assert copies <= wide.entry.possibly_twice
        assert sorted(set(wide.server.names()[400:])) == MANY[:10]
    else:
        assert sorted(wide.server.names()[400:]) == MANY[:10]
        assert counts(wide.entry) == CLEAN


@pytest.mark.parametrize("applied", [(3, 5), (5,), (3,), ()])
def test_two_faults_in_one_window_leave_both_records_in_doubt(wide, applied):
    """A gateway failed twice, whether or not the server applied these requests."""
    widened(wide)

    def call_all(requests):
        answers = []
        for place, request in enumerate(requests):
            fault = say(502, "bad gateway", applied=place in applied)
            answer = (
                fault(wide.server, request) if place in (3, 5) else wide.server.answer(request)
            )
            answers.append(answer)
        return answers, None

    log(wide, MANY[:8])
    step_with(wide, call_all)
    wide.drain()
    there = wide.server.names()[400:]
    assert sorted(set(there)) == MANY[:8]
    assert len(there) - 8 <= wide.entry.possibly_twice
    if not wide.server.classic:
        assert len(there) == 8 and counts(wide.entry) == CLEAN
    assert wide.entry.overtaken >= 1


def test_an_end_in_a_broken_window_is_sent_again_without_doubt(wide):
    widened(wide)
    log(wide, MANY[:3])
    wide.end(wide.entry)
    lose_answers(wide)
    wide.drain()
    assert wide.server.names()[400:] == MANY[:3]
    assert counts(wide.entry) == CLEAN
    assert wide.server.only_session()["ended_at"]


def test_the_last_record_and_the_end_go_together_from_the_start(wide):
    """A short run has no time to find out about the order first."""
    log(wide, ["only"])
    wide.end(wide.entry)
    assert widths(wide) == [2]
    assert wide.server.only_session()["ended_at"] and counts(wide.entry) == CLEAN


def test_what_is_logged_after_the_end_does_not_go_with_it(wide):
    widened(wide)
    log(wide, MANY[:3])
    wide.end(wide.entry)
    log(wide, MANY[3:6])
    assert widths(wide)[0] == 4
    assert wide.server.names()[400:] == MANY[:6]


def test_a_session_too_large_to_be_read_back_gets_no_windows(v1, monkeypatch):
    v1.server.windows = True
    widened(v1)
    monkeypatch.setattr(looks, "V1_READ_BACK_BYTES", 1000)
    v1.server.concerned = is_event
    v1.server.next_faults = [lose_answer]
    log(v1, MANY[:8])
    v1.drain()
    assert v1.entry.possibly_twice >= len(v1.server.names()) - 408
    v1.server.next_faults = []
    log(v1, MANY[:8])
    assert set(widths(v1)) == {1}


def test_read_backs_that_fail_count_only_records_that_there_are(v1):
    """Three inherited ones, of which it stays unknown whether they were sent."""
    log(v1, MANY[:3])
    successor = v1.again()
    successor.server.concerned = is_read
    successor.server.fault = say(500, "oops")
    successor.drain(300)
    assert [entry.possibly_twice for entry in successor.outbox.entries()] == [3]


def test_the_order_is_checked_although_sessions_take_turns(make_bench):
    bench = make_bench()
    bench.server.windows = True
    entries = [bench.session() for _ in range(3)]
    for number in range(100):
        for entry in entries:
            bench.event(entry, MANY[number])
    bench.entry = entries[0]
    assert max(widths(bench)) > 8


# The order of application


def test_the_order_is_checked_in_a_v1_session_with_another_writer(v1):
    """Its records can be told from others', so that nothing keeps the check from an answer."""
    v1.server.windows = True
    v1.outbox.update(v1.entry, shared=1)
    log(v1, MANY)
    assert max(widths(v1)) > 8


def out_of_order(server):
    """Have a server answer in order, and apply the requests of a window in another one."""

    def call_all(requests):
        answers = {}
        for request in reversed(requests):
            answers[request] = server.call(request)
        return [answers[request] for request in requests], None

    server.call_all = call_all


def test_a_server_that_applies_a_window_out_of_order_gets_no_more_windows(wide):
    out_of_order(wide.server)
    log(wide, MANY)
    found = widths(wide)
    assert found[:3] == [4, 4, 4] and set(found[3:]) == {1}
    assert wide.server.names()[12:] == MANY[12:]
    assert len(wide.warnings.about("order")) == 1


def test_records_that_arrived_without_an_earlier_one_end_windows_for_good(v1):
    v1.server.windows = True
    widened(v1)

    def call_all(requests):
        for request in requests[4:6]:
            v1.server.answer(request)
        return [], BROKE

    log(v1, MANY[:10])
    step_with(v1, call_all)
    assert set(widths(v1)) == {1}
    assert sorted(v1.server.names()[400:]) == MANY[:10]
    assert counts(v1.entry) == CLEAN and len(v1.warnings.about("order")) == 1


@pytest.mark.parametrize("kind", ["states", "alternating"])
def test_windows_that_show_no_order_are_not_sent_before_it_is_checked(wide, kind):
    """And so none that a server may mix up unseen."""
    for number in range(30):
        wide.state(wide.entry, number=number)
        if kind == "alternating":
            wide.event(wide.entry, "e%03d" % number)
    found = widths(wide)
    if wide.server.classic and kind == "states":
        # It keeps no history of them.
        assert set(found) == {1}
    log(wide, MANY)
    assert max(widths(wide)) > 8
    assert wide.warnings.about("order") == []


def test_a_first_window_that_breaks_does_not_leave_them_too_narrow_to_show_the_order(wide):
    for number in range(60):
        wide.event(wide.entry, "e%03d" % number)
        wide.metric(wide.entry, "load", number)
        wide.state(wide.entry, number=number)
    lose_answers(wide)
    assert max(widths(wide)) > 8
    assert wide.server.names() == MANY[:60]


@pytest.mark.parametrize("kind", ["states", "alternating"])
def test_a_server_that_mixes_up_states_gets_no_more_windows(v1, kind):
    v1.server.windows = True
    out_of_order(v1.server)
    for number in range(30):
        v1.state(v1.entry, number=number)
        if kind == "alternating":
            v1.event(v1.entry, "e%03d" % number)
    found = widths(v1)
    assert found[:3] == [4, 4, 4] and set(found[3:]) == {1}
    assert v1.server.only_session()["state"]["number"] == 29
    assert len(v1.warnings.about("order")) == 1


def test_a_check_of_the_order_that_fails_is_repeated_less_and_less_often(wide):
    """It reads a whole session."""
    wide.server.concerned = is_read
    wide.server.fault = say(500, "oops")
    reads = []
    for _ in range(60):
        log(wide, MANY[:20])
        before = len(wide.reads())
        wide.drain(60)
        reads.append(len(wide.reads()) - before)
    assert sum(reads) <= 10
    assert wide.server.names() == MANY[:20] * 60
    wide.server.fault = None
    wide.world.pass_(700)
    log(wide, MANY)
    assert max(widths(wide)) > 8


def test_what_overtook_a_record_says_nothing_about_its_second_request(classic):
    classic.server.windows = True
    widened(classic)
    log(classic, MANY[:2])

    def busy(requests):
        return [
            say(503, "busy")(classic.server, requests[0]),
            classic.server.answer(requests[1]),
        ], None

    step_with(classic, busy)
    classic.server.concerned = is_event
    classic.server.next_faults = [lose_answer]
    classic.drain()
    assert classic.server.names()[400:] == [MANY[1], MANY[0]]
    assert counts(classic.entry)[:4] == CLEAN[:4]


# The next process


def test_the_next_process_looks_inherited_records_up_with_one_read(wide):
    """Killed with a window in flight, of which the server had applied a part."""
    widened(wide)
    log(wide, MANY[:60])
    wide.outbox.settle_all = lambda *_: None
    step_with(wide, lambda requests: (list(map(wide.server.answer, requests[:40])), None))
    successor = wide.again()
    del wide.server.calls[:]
    successor.drain()
    assert wide.server.names()[400:] == MANY[:60]
    reads = len(successor.reads())
    assert reads <= 3 + wide.server.classic, reads
    assert [entry.possibly_twice for entry in successor.outbox.entries()] == [0]


def test_a_classic_session_with_another_writer_gets_no_windows(classic):
    classic.server.windows = True
    widened(classic)
    classic.outbox.update(classic.entry, shared=1)
    log(classic, MANY[:8])
    assert set(widths(classic)) == {1}


def test_times_and_order_of_what_arrives_are_those_of_the_records(v1):
    v1.server.windows = True
    log(v1, MANY)
    v1.drain()
    stamps = [event["timestamp"] for event in v1.server.only_session()["events"]]
    assert stamps == sorted(stamps) and len(set(stamps)) == len(MANY)
