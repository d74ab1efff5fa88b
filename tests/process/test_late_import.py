"""Promises about when requests is imported: late, beside forks, exits and other imports."""

from __future__ import absolute_import, division

import contextlib
import io
import os

import pytest
import six
from programs import FLUSHES, UNHURRIED, the_one, with_event
from tools import held
from tools.ports import held_port
from tools.waiting import wait_until

NO_PROXIES = dict.fromkeys(
    ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), ""
)

TELLS = u"""
print("imported: %s" % ("requests" in sys.modules))
"""

# A session that finds out whether its server is there.
RUNS = UNHURRIED + u"""
session = datacat.create_session(connect_wait=PATIENCE)
session.log_event("first")
"""

# Stops the import of requests in its middle; `reached` tells that it is there.
GATE = UNHURRIED + u"""
import atexit, threading

class Gate(object):
    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

gate = sys.gate = Gate()
"""

# Requests looks for it, and does without.
SIMPLEJSON = u"""
import sys
sys.gate.reached.set()
sys.gate.opened.wait()
raise ImportError("not really there")
"""


@pytest.fixture
def start(run_program, tmp_path):
    """Starts a program without proxies."""

    def begin(source, url, **env):
        if "sys.gate" in source:
            write(tmp_path / "simplejson.py", SIMPLEJSON)
        return run_program(source, url, **dict(NO_PROXIES, PYTHONDONTWRITEBYTECODE="1", **env))

    return begin


@pytest.fixture
def run(start):
    """Runs a program to its end; returns what it printed."""

    def finish(source, url, **env):
        program = start(source, url, **env)
        program.wait()
        assert "Traceback" not in program.output, program.output
        return program.output

    return finish


def write(path, source):
    with io.open(str(path), "w", encoding="utf-8") as stream:
        stream.write(source)


@pytest.fixture
def refusing():
    """The URL of a port that refuses connections."""
    with contextlib.closing(held_port()) as held_one:
        yield "http://127.0.0.1:%d" % held_one.getsockname()[1]


def test_without_a_server_requests_is_not_imported(run, refusing):
    output = run(
        RUNS + u"""
session.flush()
stats = session.stats()
print("online: %s, waiting: %d, %s" % (stats["online"], stats["waiting"], stats["last_error"]))
session.end()
""" + TELLS,
        refusing,
    )
    assert "imported: False" in output
    assert "online: False, waiting: 2, could not reach %s: " % refusing in output


def test_with_a_server_requests_is_imported_while_create_session_waits(run, fresh_collector):
    output = run(
        RUNS + TELLS + FLUSHES + u"print(session.stats()['last_error'])", fresh_collector.url
    )
    assert "imported: True" in output and "None" in output
    assert held.names(the_one(fresh_collector)) == ["first"]


def test_behind_a_proxy_requests_finds_out(run, refusing):
    output = run(RUNS + TELLS, refusing, http_proxy=refusing)
    assert "imported: True" in output


def test_a_client_for_direct_calls_imports_it_at_once(run, refusing):
    output = run(UNHURRIED + u"client = datacat.DatacatClient()" + TELLS, refusing)
    assert "imported: True" in output


def test_a_module_that_logs_and_flushes_while_it_is_imported_delivers(
    run, fresh_collector, tmp_path
):
    """On Python 2.7, no other thread can import anything meanwhile, so that it delivers later."""
    write(
        tmp_path / "app.py",
        UNHURRIED + u"""
session = datacat.create_session(connect_wait=0.1)
session.log_event("first")
if sys.version_info < (3,):
    session.flush(0.1)
else:
    assert session.flush(PATIENCE)
print("imported")
""",
    )
    assert "imported" in run(u"\nimport app\n", fresh_collector.url)
    assert held.names(the_one(fresh_collector)) == ["first"]


def test_create_session_waits_no_longer_than_connect_wait_for_the_import(run, fresh_collector):
    output = run(
        GATE + u"""
session = datacat.create_session(connect_wait=0.1)
print("returned while imported: %s" % (not gate.opened.is_set()))
session.log_event("first")
print("reached: %s" % gate.reached.wait(PATIENCE))
gate.opened.set()
""" + FLUSHES,
        fresh_collector.url,
    )
    assert "returned while imported: True" in output and "reached: True" in output


def test_a_flush_that_finds_the_server_back_waits_for_the_import(start, make_collector):
    """However long it takes: the fresh attempt has not failed."""
    collector = make_collector()
    program = start(
        GATE + u"""
session = datacat.create_session(connect_wait=PATIENCE)
session.log_event("first")
print("away: %s" % (session.stats()["online"] is False))
sys.stdout.flush()
sys.stdin.readline()
assert gate.reached.wait(PATIENCE)
threading.Timer(1.0, gate.opened.set).start()
""" + FLUSHES,
        collector.url,
    )
    wait_until(lambda: "away: True" in program.output)
    collector.start()
    program.proceed()
    program.wait()


def test_an_exit_in_the_middle_of_the_import_delivers(run, fresh_collector):
    run(
        GATE + u"""
session = datacat.create_session(connect_wait=0)
session.log_event("first")
assert gate.reached.wait(PATIENCE)
# Runs before the library's handler.
atexit.register(gate.opened.set)
""",
        fresh_collector.url,
    )
    there = the_one(fresh_collector)
    assert held.names(there) == ["first"] and there["active"] is False


@pytest.mark.skipif(six.PY2, reason="on Python 2.7, the exit needs imports itself")
def test_an_exit_does_not_wait_for_an_import_that_does_not_end(run, fresh_collector, spool):
    output = run(
        GATE + u"""
session = datacat.create_session(connect_wait=0)
session.log_event("first")
assert gate.reached.wait(PATIENCE)
shutdown.EXIT_SECONDS = 0.1
""",
        fresh_collector.url,
    )
    assert output.strip() == "" and fresh_collector.sessions() == []
    assert [name for name in os.listdir(str(spool)) if name.endswith(".outbox")]


needs_hooks = pytest.mark.skipif(
    not hasattr(os, "fork") or (six.PY3 and not hasattr(os, "register_at_fork")),
    reason="needs forks, and hooks for them",
)

FORKS = GATE + u"""
session = datacat.create_session(connect_wait=0)
session.log_event("first")
assert gate.reached.wait(PATIENCE)
%s
child = os.fork()
if child == 0:
    signal.alarm(int(PATIENCE))
    %s
    os._exit(5)
gate.opened.set()
assert os.waitpid(child, 0)[1] >> 8 == 5
""" + FLUSHES


@needs_hooks
def test_a_fork_waits_for_the_end_of_the_import(run, fresh_collector):
    run(
        FORKS
        % (
            u"""
fork.IMPORT_SECONDS = PATIENCE
if hasattr(os, "register_at_fork"):
    # Called before the library's hook.
    os.register_at_fork(before=gate.opened.set)
else:
    gate.opened.set()
""",
            u"""
    import requests
    session.log_event("in child")
    assert session.flush(PATIENCE)
""",
        ),
        fresh_collector.url,
    )
    for name in ("first", "in child"):
        assert len(with_event(fresh_collector, name)) == 1


@needs_hooks
@pytest.mark.skipif(six.PY2, reason="Python 2.7 itself waits for imports, without end")
def test_a_child_that_has_half_of_the_import_keeps_its_records_and_does_not_hang(
    run, fresh_collector
):
    run(
        FORKS
        % (
            u"fork.IMPORT_SECONDS = 0",
            u"""
    session.log_event("in child")
    assert not session.flush(PATIENCE)
    assert "when this process was forked" in session.stats()["last_error"]
    try:
        datacat.DatacatClient()
    except ImportError:
        pass
    else:
        raise AssertionError("imported")
""",
        ),
        fresh_collector.url,
    )
    assert "first" in held.names(the_one(fresh_collector))
