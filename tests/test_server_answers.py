"""What an answer leads to: waiting, a dead letter, or an exception in the application."""

from __future__ import absolute_import, division

import logging
import os

import pytest
import six
from tools import faults, held
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat import NotDelivered

TEXT = [("Content-Type", "text/plain; charset=utf-8")]

pytestmark = pytest.mark.usefixtures("timed_disks")


def is_event(seen):
    return seen.path.endswith("/events")


def poison(seen):
    return is_event(seen) and b"poison" in seen.body


def test_a_wrong_key_raises_at_once_with_the_servers_words_and_what_to_pass(
    make_collector, open_session, spool
):
    collector = make_collector(api_key="right").start()
    with pytest.raises(datacat.NotAuthorized) as caught:
        open_session(collector.url, api_key="wrong")
    assert (caught.value.status, caught.value.words) == (401, "Unauthorized")
    assert "api_key=" in str(caught.value) and "DATACAT_API_KEY" in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert [name for name in os.listdir(str(spool)) if name.endswith(".outbox")] == []
    session = open_session(collector.url, api_key="right")
    session.log_event("e")
    assert held.names(session.get_details(PATIENCE)) == ["e"]
    assert len(collector.sessions()) == 1


def test_a_key_that_is_refused_later_loses_nothing_and_warns_once(
    make_collector, open_session, caplog
):
    collector = make_collector(api_key="right").start()
    session = open_session(collector.url, api_key="right")
    session.flush(PATIENCE)
    collector.stop()
    collector.api_key = "another"
    collector.start()
    with caplog.at_level(logging.WARNING, "datacat"):
        for number in range(5):
            session.log_event("step", {"number": number})
        wait_until(lambda: "401" in (session.stats()["last_error"] or ""))
        assert session.flush(timeout=1) is False
    warnings = [record for record in caplog.records if "Unauthorized" in record.getMessage()]
    assert len(warnings) == 1
    session.close()
    collector.stop()
    collector.api_key = "right"
    collector.start()
    again = open_session(collector.url, api_key="right", timeout=9)
    again.log_event("again")
    assert again.flush(PATIENCE)
    first = session.session_id
    wait_until(lambda: held.numbers(collector.session(first)) == list(range(5)))


def test_a_refused_open_raises_with_the_servers_words(collector, open_session, before):
    proxy = before(collector)
    proxy.rule(
        faults.Answer(400, b"Product and version are required fields\n", TEXT),
        lambda seen: seen.path == "/api/sessions",
    )
    with pytest.raises(datacat.RequestRefused) as caught:
        open_session(proxy.url)
    assert caught.value.words == "Product and version are required fields"
    assert "product=" in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        faults.html_filter(403),
        faults.html_filter(400),
        faults.html_filter(451),
        faults.captive_portal(),
        faults.redirect("http://login.example/"),
        faults.Answer(404, b"404 page not found\n", TEXT).named("other service"),
        faults.Answer(405, b"Method not allowed\n", TEXT).named("static server"),
        faults.busy(),
        faults.gateway_error(502, applied=False),
    ],
    ids=lambda fault: "%s-%s" % (fault.name, fault.status),
)
def test_an_open_answered_by_anything_else_waits_and_raises_nothing(
    fault, collector, open_session, before
):
    proxy = before(collector)
    proxy.rule(fault)
    session = open_session(proxy.url, connect_wait=1)
    session.log_event("e")
    assert session.session_id == session.local_id
    wait_until(lambda: proxy.struck[fault.name])
    assert (session.stats()["waiting"], session.stats()["dead"]) == (2, 0)
    proxy.clear()
    assert held.names(delivered(session)) == ["e"]


def delivered(session):
    """Return a session as the server has it, once it has everything."""
    wait_until(session.flush)
    return session.get_details(PATIENCE)


def test_a_record_refused_with_400_becomes_a_dead_letter_and_the_next_is_sent(
    any_collector, open_session, before, caplog
):
    proxy = before(any_collector)
    proxy.rule(faults.Answer(400, b"Invalid request body\n", TEXT).named("poison"), poison)
    session = open_session(proxy.url)
    for name in ("first", "poison", "second"):
        session.log_event(name)
    assert held.names(delivered(session)) == ["first", "second"]
    assert proxy.struck["poison"] == 1
    stats = session.stats()
    assert (stats["dead"], stats["waiting"], stats["sent"]) == (1, 0, 3)
    assert "Invalid request body" in stats["last_error"]
    assert "Invalid request body" in caplog.text


def test_words_beyond_ascii_can_be_read_in_stats_and_errors(
    fresh_collector, open_session, before, caplog
):
    """On Python 2 too, where bytes and text do not mix."""
    proxy = before(fresh_collector)
    session = open_session(proxy.url)
    assert session.flush(PATIENCE)
    proxy.rule(faults.Answer(503, u"sp\xe4ter\n".encode("utf-8"), TEXT).named("busy"))
    session.log_event("waits")
    wait_until(lambda: u"sp\xe4ter" in (session.stats()["last_error"] or u""))
    with pytest.raises(NotDelivered) as caught:
        session.get_details(timeout=0.1)
    assert u"sp\xe4ter" in six.text_type(caught.value)
    proxy.clear()


def events_seen(proxy):
    """Return when each event arrived at the proxy."""
    return [seen.at for seen in proxy.log if is_event(seen)]


def test_flush_does_not_cut_a_retry_after_short_and_does_not_wait_for_it(
    any_collector, open_session, before
):
    proxy = before(any_collector)
    session = open_session(proxy.url)
    session.flush(PATIENCE)
    proxy.rule(faults.busy(retry_after=3600), is_event)
    session.log_event("e")
    wait_until(lambda: "503" in (session.stats()["last_error"] or ""))
    assert session.flush() is False
    assert len(events_seen(proxy)) == 1


def test_a_record_answered_with_503_is_sent_again_after_its_retry_after(
    any_collector, open_session, before
):
    proxy = before(any_collector)
    session = open_session(proxy.url)
    session.flush(PATIENCE)
    proxy.rule(faults.busy(retry_after=2), is_event, times=1)
    session.log_event("e")
    wait_until(lambda: session.stats()["waiting"] == 0)
    refused, taken = events_seen(proxy)
    assert taken - refused >= 2
    assert held.names(session.get_details(PATIENCE)) == ["e"]
    assert session.stats()["possibly_twice"] == 0


@pytest.mark.parametrize("applied", [False, True])
def test_a_200_with_html_is_no_delivery_and_an_applied_record_is_not_sent_again(
    applied, any_collector, open_session, before
):
    proxy = before(any_collector)
    session = open_session(proxy.url)
    session.flush(PATIENCE)
    page = faults.captive_portal()
    page.applied = applied
    proxy.rule(page, is_event, times=1)
    for number in range(3):
        session.log_event("step", {"number": number})
    numbers, stats = held.numbers(delivered(session)), session.stats()
    # Where three went at once, the portal let two overtake the one that it kept.
    assert numbers == [0, 1, 2] or (numbers, stats["overtaken"]) == ([1, 2, 0], 1)
    assert proxy.struck["captive_portal"] == 1
    assert stats["possibly_twice"] == 0


def test_a_record_that_meets_a_404_waits_unless_the_session_is_unknown(
    collector, open_session, before
):
    proxy = before(collector)
    session = open_session(proxy.url)
    session.flush(PATIENCE)
    proxy.rule(faults.Answer(404, b"404 page not found\n", TEXT).named("other"), is_event)
    session.log_event("e")
    wait_until(lambda: proxy.struck["other"] > 0)
    assert (session.stats()["waiting"], session.stats()["dead"]) == (1, 0)
    proxy.clear()
    assert held.names(delivered(session)) == ["e"]
