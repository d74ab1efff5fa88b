"""Network (24): only a record that the server does not accept becomes a dead letter."""

from __future__ import absolute_import, division

import pytest
from tools.faults import Answer, Reset, Stall, captive_portal, html_filter, is_write
from tools.waiting import wait_until

PLAIN = [("Content-Type", "text/plain")]
REFUSALS = {
    "400": Answer(400, b"Invalid request body\n", PLAIN),
    "422": Answer(422, b"Unprocessable\n", PLAIN),
    "413": Answer(413, b"<html>Request Entity Too Large</html>", [("Content-Type", "text/html")]),
}
FAILURES = {
    "500": Answer(500, b"panic\n", PLAIN),
    "502": html_filter(502),
    "reset": Reset(),
    "silence": Stall(),
    "a filter's 403": html_filter(403),
    "a filter's 400": html_filter(400),
    "a portal's 200": captive_portal(),
}
FAILURES_IN_SHORT = ["500", "a filter's 403"]


def pytest_generate_tests(metafunc):
    """All ways to fail in the long form, some in the short one: each takes seconds."""
    if "failure" in metafunc.fixturenames:
        is_long = metafunc.config.getoption("--long", default=False)
        metafunc.parametrize("failure", sorted(FAILURES) if is_long else FAILURES_IN_SHORT)


def is_poison(request):
    return is_write(request) and b"poison" in request.body


def check_only_poison_is_dead(trial, proxy, fault, poison):
    """Check that every poison record is a dead letter, and every other one arrived.

    fault: its name.
    """
    assert proxy.struck[fault] >= poison
    losses = trial.losses()
    assert losses.pop("dead") == poison
    # A dead update is missing from every later state.
    report = trial.check(allow={"lost": poison, "different": float("inf")})
    lost = [mark for mark in report.calls if mark not in report.arrived]
    assert lost == [
        mark
        for mark, call in report.calls.items()
        if is_poisonous(call) and not (trial.server.classic and call.kind == "state")
    ]
    return losses


def is_poisonous(call):
    """Return whether log_poison logged it.  A classic server does not show single states."""
    return call.fields.get("name") == "poison" or "poison" in call.fields


@pytest.mark.parametrize("way", sorted(REFUSALS))
def test_a_refused_record_becomes_the_only_dead_letter(trial, proxy, way):
    """Never silent: it is kept as a dead letter, and the next records are sent."""
    proxy.rule(REFUSALS[way], is_poison)
    trial.start(15, sessions=2, source="poisoned.py", quick=False)
    trial.await_drained()
    trial.leave()
    losses = check_only_poison_is_dead(trial, proxy, REFUSALS[way].name, 6)
    assert proxy.struck[REFUSALS[way].name] == 6
    assert not any(losses.values()), losses


def test_a_record_that_always_fails_becomes_the_only_dead_letter(trial, proxy, failure):
    """Never silent: after 10 failures over 10 minutes (here 1 s), while the server answers."""
    proxy.rule(FAILURES[failure], is_poison)
    trial.start(15, source="poisoned.py", quick=True, timeout=2.0)
    trial.await_drained(within=600)
    trial.leave()
    losses = check_only_poison_is_dead(trial, proxy, FAILURES[failure].name, 1)
    assert proxy.struck[FAILURES[failure].name] >= 10
    assert not any(losses.values()), losses


def test_a_large_record_that_is_always_cut_off_holds_up_only_its_own_session(trial, proxy):
    """Something on the way resets connections in the middle of large bodies.

    It is sent again and again, while the server answers and the other session goes on.  After 10
    failures over 10 minutes (here 1 s, once the test has seen that) it is a dead letter.
    """
    proxy.cut_bodies(20000)
    trial.start(
        15, sessions=2, endless=True, source="large_record.py", seconds_between=0.005, window=1
    )
    wait_until(lambda: proxy.struck["cut_body"] >= 12)
    arrived = len(proxy.log)
    wait_until(lambda: len(proxy.log) >= arrived + 50 and proxy.struck["cut_body"] >= 14)
    assert any(is_write(seen) and seen.applied for seen in proxy.log[arrived:])
    trial.enough()
    trial.await_drained()
    trial.leave()
    losses = check_only_poison_is_dead(trial, proxy, "cut_body", 1)
    assert not any(losses.values()), losses
    (dead,) = [words for words in trial.warnings() if "dead letter" in words]
    assert "broke before the whole request was sent" in dead
    assert not any("unavailable" in words for words in trial.warnings())
