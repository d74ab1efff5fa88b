"""Promises about refusals: only a poison record is buried, a server's refusal loses nothing."""

from __future__ import absolute_import, division

import json

import pytest
from tools.memory_server import cut_short, never_answer, portal, refuse, say
from tools.sending import (
    CLEAN,
    HTML,
    NAMES,
    OWN_400,
    counts,
    is_write,
    log,
    name_of,
)

from datacat.records.redaction import Redaction
from datacat.records.secrets import Secrets

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
def test_a_record_that_a_server_refuses_becomes_a_dead_letter_and_the_next_goes_on(bench, fault):
    bench.server.poison = {"two": fault}
    log(bench)
    bench.drain()
    assert bench.server.names() == ["one", "three"]
    assert counts(bench.entry) == (0, 1, 0, 0, 0)
    (letter,) = bench.outbox.dead_letters()
    assert json.loads(letter.record.body.decode("ascii"))["name"] == "two"
    assert letter.status in (400, 413, 422) and letter.words
    assert len(bench.warnings.about("dead")) == 1


def test_what_a_server_repeats_of_a_record_is_kept_without_secrets(bench):
    bench.entry.redact = Redaction(None, Secrets())
    bench.server.poison = {"two": say(422, "bad field: password=hunter2\n")}
    log(bench)
    bench.drain()
    (letter,) = bench.outbox.dead_letters()
    assert "password=[redacted]" in letter.words and "hunter2" not in letter.words


def test_after_two_refusals_in_the_same_words_nothing_is_buried_while_reads_fail_too(bench):
    """A proxy that uses a datacat server's words costs two records at most."""
    bench.server.concerned = lambda request: request.path.startswith("/api/sessions/")
    bench.server.fault = OWN_400
    log(bench, ["%d" % number for number in range(20)])
    bench.run(1200)
    assert bench.entry.dead == 2 and bench.entry.waiting == 18
    bench.server.fault = None
    bench.drain()
    assert bench.server.names() == ["%d" % number for number in range(2, 20)]


def test_another_services_plain_words_cost_no_record_at_all(bench):
    bench.server.concerned = lambda request: request.path.startswith("/api/sessions/")
    bench.server.fault = say(400, "Client sent an HTTP request to an HTTPS server.\n")
    log(bench)
    bench.run(1200)
    assert bench.entry.dead == 0 and bench.entry.waiting == 3
    assert len(bench.warnings.about("refused")) == 1


def test_many_poison_records_in_a_row_are_all_buried_where_reads_are_answered(bench):
    bench.server.poison = {"bad": OWN_400}
    log(bench, ["bad"] * 10 + ["good"])
    assert bench.drain() < 5
    assert bench.server.names() == ["good"] and bench.entry.dead == 10
    reads = bench.reads()
    assert len(reads) <= 5


@pytest.mark.parametrize(
    "fault",
    [
        say(500, "oops"),
        say(502, "<html>", HTML),
        never_answer,
        cut_short,
        say(403, "<html>blocked", HTML),
        say(400, "<html>blocked", HTML),
        say(451, "<html>blocked", HTML),
        say(405, "no"),
        say(204, ""),
    ],
)
def test_a_record_that_fails_by_itself_for_ten_minutes_becomes_a_dead_letter(bench, fault):
    bench.server.poison = {"two": fault}
    log(bench)
    begun = bench.world.now
    bench.run(590)
    assert bench.server.names() == ["one"] and bench.entry.dead == 0
    bench.drain(within=400)
    assert bench.world.now - begun >= 600
    assert bench.server.names() == ["one", "three"]
    assert (bench.entry.dead, bench.entry.waiting) == (1, 0)
    assert (
        len([name for name in map(name_of, bench.server.sent_to("/events")) if name == "two"])
        >= 10
    )


@pytest.mark.parametrize(
    "fault",
    [
        say(500, "oops"),
        never_answer,
        cut_short,
        say(403, "<html>blocked", HTML),
        say(405, "no"),
        OWN_400,
    ],
)
def test_poison_in_one_session_does_not_delay_another(bench, fault):
    other = bench.session()
    bench.server.poison = {"bad": fault}
    log(bench, ["bad", "after"])
    sent = 0
    for _ in range(60):
        bench.event(other, "good")
        sent += 1
        bench.run(20)
    bench.run(20)
    assert bench.server.names(other.server_id) == ["good"] * sent
    assert bench.server.names(bench.entry.server_id) == ["after"]


def test_a_record_that_is_cut_off_now_and_then_arrives_once_and_in_order(bench):
    """A bad line cuts off any record, and none of them is sent twice."""
    bench.server.concerned = is_write
    bench.server.next_faults = [cut_short] * 9
    log(bench)
    bench.run(1200)
    assert bench.server.names() == NAMES and counts(bench.entry) == CLEAN
    assert bench.link.online and not bench.warnings.about("away")


def test_a_state_that_is_restored_and_always_cut_off_is_given_up_and_the_records_go_on(v1):
    v1.state(v1.entry, large="x" * 1000)
    v1.drain()
    v1.server.lose_data()
    v1.server.concerned = lambda request: request.path.endswith("/state")
    v1.server.fault = cut_short
    log(v1)
    v1.run(590)
    assert v1.server.names() == []
    v1.drain(within=400)
    assert len(v1.warnings.about("unrestored")) == 1
    assert v1.server.names() == NAMES + ["session_reopened"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_record_that_is_always_answered_with_busy_is_not_given_up(bench, status):
    """A server that takes no records for hours says the same, though it answers reads."""
    bench.server.poison = {"two": say(status, "busy")}
    log(bench)
    bench.run(3600)
    assert bench.server.names() == ["one"]
    assert (bench.entry.dead, bench.entry.waiting) == (0, 2)
    assert len(bench.warnings.about("away")) == 1


def test_in_a_shared_classic_session_a_poison_record_is_sent_less_and_less_often(classic):
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
        cut_short,
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
def test_nothing_is_given_up_for_what_a_whole_server_says_however_often(bench, fault):
    """Nothing is lost to a wrong key, a portal or another service on the port."""
    log(bench, ["%d" % number for number in range(5)])
    bench.server.fault = fault
    bench.run(3600)
    assert counts(bench.entry) == (5, 0, 0, 0, 0)
    bench.server.fault = None
    assert bench.drain() <= 62
    assert bench.server.names() == ["%d" % number for number in range(5)]
    assert counts(bench.entry) == CLEAN


def test_an_outage_before_a_failure_does_not_count_against_the_record(bench):
    log(bench)
    bench.server.fault = refuse
    bench.run(1200)
    bench.server.fault = None
    bench.server.concerned = is_write
    bench.server.next_faults = [say(500, "oops")] * 3
    bench.drain()
    assert bench.server.names() == NAMES and bench.entry.dead == 0


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
def test_one_warning_says_what_answered_and_everything_waits(bench, status, words, kind):
    bench.server.fault = say(status, words, kind)
    log(bench)
    bench.run(300)
    (warning,) = bench.warnings.about("refused")
    assert str(status) in warning and words.strip() in warning
    assert [topic for topic, _ in bench.warnings.said] == ["refused"]
    calls = len(bench.server.calls)
    bench.run(60)
    assert len(bench.server.calls) - calls <= 8
