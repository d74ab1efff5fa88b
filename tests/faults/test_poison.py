"""Network (24): a record that the server will not take becomes a dead letter, and only it."""
from __future__ import absolute_import, division

import pytest
from tools.faults import Answer, Reset, Stall, is_write

PLAIN = [("Content-Type", "text/plain")]
REFUSALS = {
    "400": Answer(400, b"Invalid request body\n", PLAIN),
    "422": Answer(422, b"Unprocessable\n", PLAIN),
    "413": Answer(413, b"<html>Request Entity Too Large</html>", [("Content-Type", "text/html")]),
}
FAILURES = {
    "500": Answer(500, b"panic\n", PLAIN),
    "reset": Reset(),
    "silence": Stall(),
}


def is_poison(request):
    return is_write(request) and b"poison" in request.body


def check_only_poison_is_dead(trial, proxy, fault, poison):
    """Every poison record is dead and every other one there."""
    assert proxy.struck[fault.name] >= poison
    losses = trial.losses()
    assert losses.pop("dead") == poison
    # The update that is dead is missing in every state after it.
    report = trial.check(allow={"lost": poison, "different": float("inf")})
    lost = [call for mark, call in report.calls.items() if mark not in report.arrived]
    assert len(lost) == poison
    assert all("poison" in (call.fields.get("name"), ) or "poison" in call.fields
               for call in lost), lost
    return losses


@pytest.mark.parametrize("way", sorted(REFUSALS))
def test_a_record_that_the_server_refuses_becomes_the_only_dead_letter(
        v1_trial, v1_proxy, way):
    """Never silent: refused in the server's own words it is kept apart; the next ones go on."""
    v1_proxy.rule(REFUSALS[way], is_poison)
    v1_trial.start(15, sessions=2, source="poisoned.py", quick=False)
    v1_trial.await_drained()
    v1_trial.leave()
    losses = check_only_poison_is_dead(v1_trial, v1_proxy, REFUSALS[way], 6)
    assert not any(losses.values()), losses


@pytest.mark.parametrize("way", sorted(FAILURES))
def test_a_record_that_always_fails_by_itself_becomes_the_only_dead_letter(
        v1_trial, v1_proxy, scaled, way):
    """Never silent: after ten failures (and here 2 s for ten minutes) at a server that answers."""
    if scaled(way == "silence", False):
        pytest.skip("takes a minute: in the long form")
    v1_proxy.rule(FAILURES[way], is_poison)
    v1_trial.start(15, source="poisoned.py", quick=True, timeout=0.5)
    v1_trial.await_drained(within=180)
    v1_trial.leave()
    check_only_poison_is_dead(v1_trial, v1_proxy, FAILURES[way], 1)
