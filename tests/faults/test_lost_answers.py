"""Once (1, 4, 5): the outcome of a broken exchange is read back, never guessed."""

from __future__ import absolute_import, division

import collections

import pytest
from tools.faults import (
    CutAnswer,
    CutBeforeLastByte,
    LoseAnswer,
    every,
    gateway_error,
    is_write,
)

LONG_DRAIN = 900.0  # seconds, while the fault lasts
GATEWAY = [(status, applied) for status in (500, 502, 504) for applied in (True, False)]


def is_open(request):
    return request.method == "POST" and request.path == "/api/sessions"


def strike(proxy, fault, kind, predicate, times=None):
    """Let `fault` strike the requests of a kind for which the predicate is true."""
    proxy.rule(fault, lambda request: kind(request) and predicate(request), times)


def struck_of_each_kind(proxy, fault):
    """Return how often the fault struck each kind: open, state, event, metric, end."""
    return collections.Counter(
        seen.path.rsplit("/", 1)[1] for seen in proxy.log if seen.fault == fault.name
    )


def deliver_with_lost_answers(trial, proxy, fault, records):
    """Lose the answers to a tenth of all writes; check every promise."""
    for operation in ("sessions", "events", "metrics", "state", "end"):
        strike(
            proxy,
            fault,
            lambda seen, ending="/" + operation: (
                seen.method == "POST" and seen.path.endswith(ending)
            ),
            every(10, first=3),
        )
    trial.start(records=records, sessions=4)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    assert proxy.struck[fault.name] >= records / 15
    struck = struck_of_each_kind(proxy, fault)
    assert min(struck[each] for each in ("sessions", "events", "metrics", "state")) > 0, struck
    assert len(trial.check().empty_sessions) <= struck["sessions"]
    trial.check_no_losses()


@pytest.mark.parametrize("generation", ["v1", "classic"])
def test_an_answer_lost_after_the_server_applied_the_request_makes_no_copy(trial, proxy, scaled):
    """Once: nothing is lost or twice, all is in order, the merged state right, on any server."""
    deliver_with_lost_answers(trial, proxy, LoseAnswer(), scaled(100, 5000))


def test_an_answer_cut_after_the_server_applied_the_request_makes_no_copy(trial, proxy, scaled):
    """Once: half an answer is no answer."""
    deliver_with_lost_answers(trial, proxy, CutAnswer(), scaled(60, 5000))


def test_a_lost_answer_to_an_open_leaves_one_empty_session_at_most(trial, proxy, scaled):
    """Once: an ambiguous open is repeated, and still all records are in one session."""
    sessions = scaled(6, 60)
    strike(proxy, LoseAnswer(), is_open, every(2))
    trial.start(records=sessions * 10, sessions=sessions)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    struck = proxy.struck["lose_answer"]
    assert struck >= sessions / 2
    report = trial.check()
    assert 0 < len(report.empty_sessions) <= struck
    trial.check_no_losses()


def test_a_request_cut_before_its_last_byte_is_sent_again_without_a_copy(trial, proxy, scaled):
    """Once: a record that did not arrive is found absent twice, with a pause, and sent again."""
    records, times = scaled((80, 4), (5000, None))
    strike(proxy, CutBeforeLastByte(), is_write, every(scaled(5, 20), first=3), times)
    trial.start(records=records, sessions=8)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    assert proxy.struck["cut_before_last_byte"] >= (times or records // 20)
    trial.check()
    trial.check_no_losses()


def test_a_gateways_error_makes_no_copy_and_loses_nothing(trial, proxy, scaled):
    """Once: 500, 502 and 504 do not tell whether the server applied the request."""
    records, times = scaled((60, 1), (5000, None))
    faults = [
        gateway_error(status, applied).named("%d, applied: %s" % (status, applied))
        for status, applied in GATEWAY
    ]
    for first, fault in enumerate(faults, 3):
        strike(proxy, fault, is_write, every(40, first), times)
    trial.start(records=records, sessions=8)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    struck = dict((fault.name, proxy.struck[fault.name]) for fault in faults)
    assert min(struck.values()) >= (times or records // 60), struck
    trial.check()
    trial.check_no_losses()
