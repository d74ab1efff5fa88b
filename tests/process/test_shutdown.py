"""How processes end, and what happens to their sessions: real processes, real kills."""

from __future__ import absolute_import, division

import glob
import os
import signal
import sys

import pytest
from programs import FLUSHES, OPENS, SUCCESSOR, UNHURRIED, the_one, whole_sessions, with_event
from tools import held
from tools.application import Application
from tools.invariants import check_invariants
from tools.process import HERE
from tools.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

APPLICATIONS = os.path.join(HERE, "applications")

# The same for tools/applications/mixed_records.py: logs as it does, and stays until it is told.
MIXED_SUCCESSOR = UNHURRIED + u"""
sys.path.insert(0, sys.argv[3])
from mixed_records import log_one
from tools.recorder import Recorder
import random
session = datacat.create_session(
    sys.argv[2], product="mixed", version="1", connect_wait=PATIENCE
)
recorder, chance = Recorder(session, sys.argv[1], "successor"), random.Random(1)
for number in range(20):
    log_one(recorder, number, chance)
sys.stdin.readline()
session.end(PATIENCE)
"""


def outboxes(spool):
    return glob.glob(os.path.join(str(spool), "*.outbox"))


def test_what_a_killed_application_accepted_is_delivered_by_its_successor(
    any_own_collector, spool, tmp_path
):
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    program = Application(
        "mixed_records.py",
        tmp_path,
        env=env,
        arguments=(any_own_collector.url, "killed", 5000, 1, 0.002),
    )
    with program:
        program.wait_for_accepted(50)
        any_own_collector.stop()
        assert program.kill_after_accepted(program.count_accepted() + 50) == -signal.SIGKILL
    any_own_collector.start()
    successor = Application(
        MIXED_SUCCESSOR,
        tmp_path,
        env=env,
        accepted=program.accepted,
        arguments=(any_own_collector.url, APPLICATIONS),
    )
    with successor:
        wait_until(lambda: with_event(any_own_collector, held.crash_report(any_own_collector)))
        wait_until(
            lambda: [each for each in whole_sessions(any_own_collector) if each.get("ended_at")],
            30,
        )
        successor.proceed()
        successor.wait()
    there = whole_sessions(any_own_collector)
    report = check_invariants([program.accepted], there)
    assert report.accepted >= 120 and len(there) == 2
    assert outboxes(spool) == []
    report_name = held.crash_report(any_own_collector)
    crashed = the_one(any_own_collector, report_name)
    assert held.names(crashed).count("session_crashed_detected") == 1
    (facts,) = [event["data"] for event in crashed["events"] if event["name"] == report_name]
    assert facts["reason"] == "abnormal_termination" and facts["hung_before"] is False
    assert facts["process"] == str(program.pid)
    assert crashed["active"] is False


@pytest.mark.parametrize(
    "how, crashed",
    [
        (u"os._exit(0)", True),
        (u"os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(PATIENCE)", True),
        (u"session.end(PATIENCE)\nos._exit(0)", False),
        (u"session.close(PATIENCE)\nos._exit(0)", False),
    ],
    ids=["os._exit", "SIGTERM", "end and os._exit", "close without end"],
)
def test_only_a_session_without_a_goodbye_is_reported_as_a_crash(
    how, crashed, fresh_collector, run_program
):
    run_program(OPENS + how, fresh_collector.url).wait(expect=None)
    run_program(SUCCESSOR, fresh_collector.url)
    wait_until(lambda: with_event(fresh_collector, "successor"))
    if crashed:
        wait_until(lambda: the_one(fresh_collector)["crashed"])
        assert held.names(the_one(fresh_collector)) == [
            "first",
            "session_crash_report",
            "session_crashed_detected",
        ]
    else:
        assert held.names(the_one(fresh_collector)) == ["first"]
        assert the_one(fresh_collector)["active"] is (u"close" in how)


@pytest.mark.parametrize(
    "end",
    [
        u"",
        u"sys.exit(3)",
        u"raise RuntimeError('goes out')",
        u"import atexit\natexit.register(session.log_event, 'at exit')\n",
    ],
    ids=["its last line", "sys.exit", "an exception", "with an atexit handler of its own"],
)
def test_a_script_that_never_called_end_is_ended_and_delivered_at_its_exit(
    end, any_collector, run_program
):
    program = run_program(
        OPENS.replace(FLUSHES, u"print(session.session_id)\n") + end, any_collector.url
    )
    status = program.wait(expect=None)
    there = any_collector.session(program.output.split()[0])
    assert held.names(there) == ["first"] + ["at exit"] * (u"atexit" in end)
    assert held.is_ended(there)
    assert status == (3 if u"sys.exit" in end else 1 if u"raise" in end else 0)
    assert (u"Traceback" in program.output) is (u"raise" in end)


HOOKED = OPENS + u"""
import threading

class Hook(object):
    def __init__(self, session):
        self.session = session

    def __call__(self, *arguments):
        self.session.log_event("hooked")

%s.%s = Hook(session)
del session
"""


@pytest.mark.parametrize(
    "owner, name",
    [("sys", "excepthook"), ("threading", "excepthook"), ("sys", "unraisablehook")],
)
def test_a_hook_that_holds_the_session_until_the_very_end_prints_nothing(
    owner, name, collector, spool, tmp_path
):
    """Python drops its hooks when the modules that a callback of ours would need are gone."""
    env = {
        "DATACAT_SPOOL_DIR": str(spool),
        "DATACAT_URL": collector.url,
        # Shows unclosed files and sockets, too.
        "PYTHONDEVMODE": "1",
    }
    with Application(HOOKED % (owner, name), tmp_path, env=env) as app:
        app.wait()
        assert app.output == u""


FINALIZED = OPENS + u"""
import threading

class Hook(object):
    def __init__(self, session):
        self.session = session

    def __call__(self, *arguments):
        pass

    def __del__(self):
        session = self.session
        session.log_event("released")
        session.log_metric("released", 1, tags=["a"])
        session.update_state({"released": True})
        session.log_exception(ValueError("released"))
        for call in (session.heartbeat, session.stats, session.flush, session.end, session.close):
            call()

session.start_heartbeat_monitor(60)
%s.%s = Hook(session)
del session
"""


@pytest.mark.parametrize(
    "owner, name",
    [
        ("sys", "excepthook"),
        ("threading", "excepthook"),
        ("sys", "unraisablehook"),
        ("os", "hook"),
        ("datacat", "hook"),
    ],
)
def test_what_a_finalizer_calls_when_no_globals_are_left_prints_nothing(
    owner, name, collector, run_program
):
    program = run_program(FINALIZED % (owner, name), collector.url)
    program.wait()
    assert program.output == u""


def test_what_an_early_atexit_handler_logs_last_is_delivered_by_the_next_run(
    fresh_collector, run_program
):
    """It runs after the session's own end, when no thread can be started any more."""
    program = run_program(
        u"import atexit\natexit.register(lambda: session.log_event('last words'))\n" + OPENS,
        fresh_collector.url,
    )
    program.wait()
    assert program.output == u""
    run_program(SUCCESSOR, fresh_collector.url)
    wait_until(lambda: with_event(fresh_collector, "last words"))
    assert held.names(the_one(fresh_collector)) == ["first", "last words"]


LOGS_WHILE_PYTHON_IS_TAKEN_APART = OPENS + u"""
class Last(object):
    def __init__(self, session):
        self.session = session

    def __del__(self):
        self.session.log_event("last words")

last = Last(session)
"""


def test_what_a_finalizer_logs_during_interpreter_shutdown_is_delivered_by_the_next_run(
    fresh_collector, run_program
):
    """The outbox was closed before, and nothing can be imported any more."""
    run_program(LOGS_WHILE_PYTHON_IS_TAKEN_APART, fresh_collector.url).wait()
    run_program(SUCCESSOR, fresh_collector.url)
    wait_until(lambda: with_event(fresh_collector, "last words"))
    assert held.names(the_one(fresh_collector)) == ["first", "last words"]


def test_an_exit_with_the_server_away_does_not_wait_for_it_and_is_silent(run_program):
    """Its own time is 20 minutes here."""
    program = run_program(
        UNHURRIED + u"shutdown.EXIT_SECONDS = 10 * PATIENCE\n"
        # The warning about the server comes from another thread, at any time.
        + u"import logging\n"
        + u"logging.getLogger('datacat').addHandler(logging.NullHandler())\n"
        + u"session = datacat.create_session()\n"
        + u"session.log_event('e')\n"
        + u"while session.stats()['online'] is not False:\n"
        + u"    time.sleep(0.01)\n"
        + u"print('exits')\n",
        "http://127.0.0.1:9",
    )
    program.wait()
    assert program.output == u"exits\n"


def test_an_exit_sends_the_rest_on_the_connection_that_there_is(collector, run_program, before):
    """To connect again takes two round trips, of the two seconds that there are."""
    proxy = before(collector)
    run_program(
        UNHURRIED
        + u"session = datacat.create_session(connect_wait=PATIENCE)\n"
        + u"session.log_event('first')\n"
        + u"assert session.flush(PATIENCE)\n"
        + u"session.log_event('last')\n",
        proxy.url,
    ).wait()
    assert proxy.accepted == 1
    assert held.is_ended(the_one(collector, "last"))


def test_an_exit_in_a_black_hole_is_bounded_and_silent(collector, run_program, before):
    """It tries for two seconds; the request itself takes its 20 minutes."""
    proxy = before(collector)
    proxy.black_hole()
    program = run_program(
        UNHURRIED + u"""
import atexit
from datacat._compat import monotonic
shutdown.EXIT_SECONDS = 2.0
def told():
    sys.stdout.write("%.3f" % (monotonic() - began))
atexit.register(told)
session = datacat.create_session(
    connect_wait=0, timeout=10 * PATIENCE, deadline=10 * PATIENCE
)
session.log_event("e")
began = monotonic()
""",
        proxy.url,
    )
    program.wait()
    assert float(program.output) >= 1.9


def test_python_of_these_tests_is_the_one_that_runs_the_programs(run_program):
    """Guards the tests above: the programs must run on this Python."""
    program = run_program(
        u"import sys\nprint(sys.version_info[:2] == %r)\n" % (tuple(sys.version_info[:2]),)
    )
    program.wait()
    assert program.output == u"True\n"
