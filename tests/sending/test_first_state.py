"""Promises of the state that a session begins with on a classic server: product and version.

It rides behind the first records, so that a short run over a long way costs a round trip less.
"""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import say
from tools.sending import CLEAN, OWN_400, counts, is_write

from datacat import errors
from datacat.records import build

OPENING = build.encode(build.opening("editor", "2.1"))
FIRST = {"product": "editor", "version": "2.1"}
NAMES = ["one", "two", "three"]
BROKE = errors.OutcomeUnknown("the connection broke")
AWAY = errors.NotSent("cannot connect")


@pytest.fixture
def classic(make_bench):
    """A bench whose classic server takes windows, with a session that is about to be opened."""
    bench = make_bench(classic=True)
    bench.server.windows = True
    # Not the first session: which generation it is, is known.
    bench.event(bench.session(), "other")
    bench.drain()
    bench.entry = bench.session(opened=False, restoring=1)
    bench.outbox.update(bench.entry, build.encode(FIRST))
    return bench


def log(bench, names=NAMES):
    for name in names:
        bench.event(bench.entry, name)


class Killed(BaseException):
    """What the sender does not handle."""


def deliver(bench):
    """Take steps until all is delivered; return what each one writes into the session."""
    found = []
    while not bench.entry.is_delivered:
        before = len(bench.server.calls)
        bench.world.pass_(bench.step())
        own = [each for each in bench.server.calls[before:] if is_write(each)]
        found.append([each.path.rsplit("/", 1)[1] for each in own])
    return [each for each in found if each]


def stored(bench):
    return bench.server.sessions[bench.entry.server_id]


def assert_all_is_there_once(bench, names=NAMES):
    assert bench.server.names(bench.entry.server_id) == list(names)
    assert stored(bench)["state"] == FIRST
    assert counts(bench.entry) == CLEAN and not bench.entry.restoring


def test_it_is_in_the_exchange_of_the_first_records(classic):
    log(classic)
    assert deliver(classic) == [["events", "events", "events", "state"]]
    assert_all_is_there_once(classic)


def test_it_goes_behind_a_single_record_too(classic):
    log(classic, ["one"])
    assert deliver(classic) == [["events", "state"]]
    assert_all_is_there_once(classic, ["one"])


def test_it_goes_before_a_record_that_changes_the_state(classic):
    """Behind it, the older state would win."""
    classic.state(classic.entry, version="3")
    log(classic)
    assert deliver(classic)[0] == ["state"]
    assert stored(classic)["state"] == {"product": "editor", "version": "3"}
    assert classic.server.names(classic.entry.server_id) == NAMES


def test_records_up_to_a_change_of_the_state_take_it_along(classic):
    log(classic)
    classic.state(classic.entry, version="3")
    log(classic, ["four"])
    assert deliver(classic)[0] == ["events", "events", "events", "state"]
    assert stored(classic)["state"] == {"product": "editor", "version": "3"}
    assert classic.server.names(classic.entry.server_id) == NAMES + ["four"]


@pytest.mark.parametrize("applied", range(5))
@pytest.mark.parametrize("error", [BROKE, AWAY])
def test_wherever_the_line_breaks_all_arrives_once(classic, applied, error):
    log(classic)
    answer = classic.server.call_all

    def break_off(requests, **_):
        if classic.entry.server_id is None:
            return answer(requests)
        del classic.server.call_all
        responses = answer(requests[:applied])[0] if applied else []
        return (responses, error) if error is AWAY else (responses[:0], error)

    classic.server.call_all = break_off
    deliver(classic)
    assert_all_is_there_once(classic)


@pytest.mark.parametrize("applied", range(5))
def test_wherever_the_process_is_killed_all_arrives_once(classic, applied):
    log(classic)
    answer = classic.server.call_all

    def kill(requests, **_):
        if classic.entry.server_id is None:
            return answer(requests)
        del classic.server.call_all
        if applied:
            answer(requests[:applied])
        raise Killed()

    classic.server.call_all = kill
    with pytest.raises(Killed):
        deliver(classic)
    heir = classic.again()
    heir.server.windows = True
    (heir.entry,) = [each for each in heir.outbox.entries() if each.restoring]
    deliver(heir)
    names = heir.server.names(heir.entry.server_id)
    assert [each for each in names if each in NAMES] == NAMES
    assert heir.server.sessions[heir.entry.server_id]["state"] == FIRST
    assert heir.entry.possibly_twice == 0


@pytest.mark.parametrize("refusal", [OWN_400, say(503, "busy\n", "text/plain")])
def test_if_it_is_refused_there_it_is_tried_and_judged_alone(classic, refusal):
    log(classic)
    classic.server.concerned = lambda request: request.path.endswith("/state")
    classic.server.next_faults = [refusal]
    deliver(classic)
    assert classic.server.struck == 1
    assert_all_is_there_once(classic)
