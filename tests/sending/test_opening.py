"""Promises about opening sessions: refusals reach the caller, everything else waits."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import lose_answer, never_answer, portal, refuse, say
from tools.sending import HTML, NAMES, OWN_400, is_open, log

from datacat import errors
from datacat.records import kinds


@pytest.mark.parametrize(
    "fault, kind",
    [
        (say(400, "Product and version are required fields\n"), errors.RequestRefused),
        (say(400, "anything in one bench\n"), errors.RequestRefused),
        (say(401, "Unauthorized\n"), errors.NotAuthorized),
        (say(403, "not this product\n"), errors.NotAuthorized),
    ],
)
def test_a_refusal_of_an_open_in_a_datacat_servers_own_words_reaches_the_caller(
    make_bench, fault, kind
):
    bench = make_bench()
    bench.server.concerned, bench.server.fault = is_open, fault
    entry = bench.session(opened=False)
    bench.run(1)
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
def test_any_other_refusal_of_an_open_makes_the_session_wait(make_bench, fault):
    bench = make_bench()
    bench.server.concerned, bench.server.fault = is_open, fault
    entry = bench.session(opened=False)
    bench.event(entry, "one")
    bench.run(600)
    assert entry.refusal is None and entry.waiting == 2
    bench.server.fault = None
    bench.drain()
    assert bench.server.names()[0] == "one"


def test_a_plain_403_does_not_reach_the_caller_if_no_datacat_server_is_known(make_bench):
    bench = make_bench(classic=True)
    bench.server.concerned, bench.server.fault = is_open, say(403, "Forbidden\n")
    entry = bench.session(opened=False)
    bench.run(100)
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


def test_an_open_that_is_answered_but_not_understood_leaves_few_sessions_behind(make_bench):
    """An hour with a server that answers the open in a way of its own, then one that we know."""
    bench = make_bench()
    bench.server.concerned = is_open
    bench.server.fault = say(200, '{"result":{"key":"s"}}', "application/json", applied=True)
    entry = bench.session(opened=False)
    bench.run(3600)
    assert 8 <= len(bench.server.sessions) <= 20
    bench.server.fault = None
    bench.run(700)
    assert entry.server_id is not None


def test_a_session_withdrawn_while_it_is_being_opened_harms_nothing(make_bench):
    bench = make_bench()
    entry = bench.session(opened=False)

    def withdraw(server, request):
        bench.outbox.forget(entry)
        return server.answer(request)

    bench.server.concerned, bench.server.next_faults = is_open, [withdraw]
    bench.run(10)
    other = bench.session()
    bench.event(other, "one")
    bench.drain()
    assert bench.server.names(other.server_id) == ["one"]


def test_an_open_record_that_the_disk_kept_is_not_sent_again(v1):
    v1.outbox.append(v1.entry, kinds.OPEN, v1.entry.opening)
    log(v1)
    v1.drain()
    assert v1.server.names() == NAMES and len(v1.server.sessions) == 1


def test_a_lost_open_leaves_an_empty_session_and_no_record_twice(make_bench):
    bench = make_bench()
    bench.server.concerned = is_open
    bench.server.next_faults = [lose_answer]
    entry = bench.session(opened=False)
    bench.event(entry, "one")
    bench.drain()
    assert len(bench.server.sessions) == 2
    assert [bench.server.names(name) for name in bench.server.sessions] == [
        [],
        ["one", "session_opened_offline"],
    ]
