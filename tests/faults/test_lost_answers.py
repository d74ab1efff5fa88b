"""Once (1, 4, 5): what a broken exchange leaves open is read back, never guessed."""
from __future__ import absolute_import, division

import pytest
from tools.faults import CutAnswer, CutBeforeLastByte, LoseAnswer, gateway_error, is_write, one_in

BOTH_GENERATIONS = True
LONG_DRAIN = 900.0  # seconds, while the fault goes on


def is_open(request):
    return request.method == "POST" and request.path == "/api/sessions"


def strike_writes(proxy, fault, count, seed):
    """Let `fault` strike one write in `count`."""
    by_chance = one_in(count, seed)
    proxy.rule(fault, lambda request: is_write(request) and by_chance(request))


@pytest.mark.parametrize("fault", [LoseAnswer(), CutAnswer()], ids=["lost", "cut"])
def test_an_answer_lost_after_the_server_applied_the_request_makes_no_copy(
        trial, proxy, scaled, fault):
    """Once: 0 lost, 0 twice, in order and the merged state right, with no help of the server."""
    records = scaled(150, 5000)
    strike_writes(proxy, fault, 10, seed=1)
    trial.start(records=records, sessions=4)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    assert proxy.struck[fault.name] > records / 20
    trial.check()
    trial.check_no_losses()


def test_a_lost_answer_to_an_open_leaves_one_empty_session_at_most(trial, proxy, scaled):
    """Once: an ambiguous open is repeated; every record is in one session all the same."""
    sessions = scaled(6, 60)
    proxy.rule(LoseAnswer(), lambda request: is_open(request) and request.number % 2)
    trial.start(records=sessions * 10, sessions=sessions)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    struck = proxy.struck["lose_answer"]
    assert struck >= sessions / 4
    report = trial.check()
    assert 0 < len(report.empty_sessions) <= struck
    trial.check_no_losses()


def test_a_request_cut_before_its_last_byte_is_sent_again_and_makes_no_copy(
        trial, proxy, scaled):
    """Once: what did not arrive is found absent, twice with quiet between, and sent again."""
    records = scaled(80, 5000)
    strike_writes(proxy, CutBeforeLastByte(), 20, seed=2)
    trial.start(records=records, sessions=8)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    assert proxy.struck["cut_before_last_byte"] >= records / 40
    trial.check()
    trial.check_no_losses()


def test_a_gateway_that_answers_for_the_server_makes_no_copy_and_loses_nothing(
        trial, proxy, scaled):
    """Once: 500, 502 and 504 say nothing of whether the server applied the request."""
    records = scaled(60, 5000)
    for seed, status in enumerate((500, 502, 504)):
        strike_writes(proxy, gateway_error(status, applied=True), 20, seed)
        strike_writes(proxy, gateway_error(status, applied=False), 50, seed + 10)
    trial.start(records=records, sessions=8)
    trial.await_drained(within=LONG_DRAIN)
    trial.leave()
    assert proxy.struck["gateway_error_applied"] >= records / 20
    assert proxy.struck["gateway_error_unapplied"] >= records / 120
    trial.check()
    trial.check_no_losses()
