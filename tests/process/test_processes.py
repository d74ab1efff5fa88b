"""How processes end and fork, and what becomes of their sessions: real processes, real kills."""

from __future__ import absolute_import, division

import glob
import os
import signal
import sys

import pytest
from tools import held
from tools.application import Application
from tools.invariants import check_invariants
from tools.process import HERE
from tools.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX's")

SIGTERM_STATUS = -signal.SIGTERM
APPLICATIONS = os.path.join(HERE, "applications")

# A run that delivers what others left, and stays until it is killed.
SUCCESSOR = u"""
import datacat, time
session = datacat.create_session()
session.log_event("successor")
assert session.flush(timeout=20)
time.sleep(60)
"""

# The same for tools/applications/mixed_records.py: logs as it does, and stays until it is told.
MIXED_SUCCESSOR = u"""
import sys
sys.path.insert(0, sys.argv[3])
from mixed_records import log_one
from tools.recorder import Recorder
import datacat, random
session = datacat.create_session(sys.argv[2], product="mixed", version="1")
recorder, chance = Recorder(session, sys.argv[1], "successor"), random.Random(1)
for number in range(20):
    log_one(recorder, number, chance)
sys.stdin.readline()
session.end()
"""

FLUSHES = u"assert session.flush(timeout=20)\n"

OPENS = u"""
import datacat, os, signal, sys, time
session = datacat.create_session()
session.log_event("first")
""" + FLUSHES


FORKS_WHILE_IT_IS_HELD = OPENS + u"""
import threading
outbox, is_held, let_go = session._pipeline._outbox, threading.Event(), []

def hold():
    is_held.set()
    time.sleep(0.3)
    let_go.append(time.time())

threading.Thread(target=outbox.intake.run, args=(hold,)).start()
is_held.wait()
child = os.fork()
if not child:
    os._exit(0 if let_go else 3)
status = os.waitpid(child, 0)[1]
session.end()
sys.exit(status >> 8)
"""


def whole_sessions(collector):
    """Return all sessions of a server in full."""
    return [collector.session(listed["id"]) for listed in collector.sessions()]


def with_event(collector, name):
    """Return the sessions that hold an event of that name."""
    return [each for each in whole_sessions(collector) if name in held.names(each)]


def the_one(collector, name="first"):
    """Return the one session that holds an event of that name."""
    found = with_event(collector, name)
    assert len(found) == 1, [held.names(each) for each in whole_sessions(collector)]
    return found[0]


def outboxes(spool):
    return glob.glob(os.path.join(str(spool), "*.outbox"))


# The end of a process


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
        wait_until(lambda: with_event(any_own_collector, "session_crashed_detected"), 30)
        wait_until(
            lambda: [each for each in whole_sessions(any_own_collector) if each.get("ended_at")],
            30,
        )
        successor.go_on()
        successor.wait(30)
    there = whole_sessions(any_own_collector)
    report = check_invariants([program.accepted], there)
    assert report.accepted >= 120 and len(there) == 2
    assert outboxes(spool) == []
    crashed = the_one(any_own_collector, "session_crashed_detected")
    # A v1 server adds one of its own behind the client's.
    facts = [
        event["data"] for event in crashed["events"] if event["name"] == "session_crashed_detected"
    ][0]
    assert facts["reason"] == "abnormal_termination" and facts["hung_before"] is False
    assert facts["process"] == str(program.pid)
    assert crashed["active"] is False


@pytest.mark.parametrize(
    "how, crashed",
    [
        (u"os._exit(0)", True),
        (u"os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)", True),
        (u"session.end()\nos._exit(0)", False),
        (u"session.close()\nos._exit(0)", False),
    ],
    ids=["os._exit", "SIGTERM", "end and os._exit", "close without end"],
)
def test_only_a_session_without_a_goodbye_is_called_a_crash(
    how, crashed, own_collector, run_program
):
    run_program(OPENS + how, own_collector.url).wait(30, expect=None)
    run_program(SUCCESSOR, own_collector.url)
    wait_until(lambda: with_event(own_collector, "successor"), 20)
    if crashed:
        wait_until(lambda: the_one(own_collector)["crashed"], 20)
        assert held.names(the_one(own_collector))[:2] == ["first", "session_crashed_detected"]
    else:
        assert held.names(the_one(own_collector)) == ["first"]
        assert the_one(own_collector)["active"] is (u"close" in how)


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
    status = program.wait(30, expect=None)
    there = any_collector.session(program.output.split()[0])
    assert held.names(there) == ["first"] + ["at exit"] * (u"atexit" in end)
    assert held.is_ended(there)
    assert status == (3 if u"sys.exit" in end else 1 if u"raise" in end else 0)
    assert (u"Traceback" in program.output) is (u"raise" in end)


def test_what_an_early_atexit_handler_logs_last_is_delivered_by_the_next_run(
    own_collector, run_program
):
    """It runs after the session's own end, when nothing may start a thread any more."""
    program = run_program(
        u"import atexit\natexit.register(lambda: session.log_event('last words'))\n" + OPENS,
        own_collector.url,
    )
    program.wait(30)
    assert program.output == u""
    run_program(SUCCESSOR, own_collector.url)
    wait_until(lambda: with_event(own_collector, "last words"), 20)
    assert held.names(the_one(own_collector)) == ["first", "last words"]


def test_an_exit_with_the_server_away_takes_no_time_and_is_silent(run_program):
    program = run_program(
        u"import datacat, time\n"
        u"session = datacat.create_session('http://127.0.0.1:9')\n"
        u"session.log_event('e')\n"
        u"import atexit\nbegan = time.time()\n"
        u"import logging\nlogging.getLogger('datacat').setLevel(logging.ERROR)\n"
        u"import datacat.process.hooks\n"
        u"datacat.process.hooks._at_exit()\n"
        u"print('%.3f' % (time.time() - began))\n",
        DATACAT_URL="http://127.0.0.1:9",
    )
    program.wait(30)
    assert float(program.output.split()[-1]) < 0.9


def test_an_exit_in_a_black_hole_is_bounded_and_silent(collector, run_program, before):
    proxy = before(collector)
    proxy.black_hole()
    program = run_program(
        u"import datacat, atexit, sys, time\n"
        u"def told():\n"
        u"    sys.stdout.write('%.3f' % (time.time() - began))\n"
        u"atexit.register(told)\n"
        u"session = datacat.create_session(connect_wait=0)\n"
        u"session.log_event('e')\n"
        u"began = time.time()\n",
        proxy.url,
    )
    program.wait(30)
    assert 1.5 < float(program.output) < 2.5


# Signals

SIGTERM_ENDS = OPENS.replace(
    u"create_session()", u"create_session(end_on_signals=(signal.SIGTERM,))"
)


@pytest.mark.parametrize("during", [u"time.sleep(30)", u"while True: session.flush()"])
def test_with_end_on_signals_sigterm_ends_the_session_and_then_the_process(
    during, own_collector, run_program
):
    program = run_program(SIGTERM_ENDS + u"print('ready')\n" + during, own_collector.url)
    wait_until(lambda: "ready" in program.output, 20)
    program.signal(signal.SIGTERM)
    program.wait(10, expect=SIGTERM_STATUS)
    assert held.names(the_one(own_collector)) == ["first"]
    assert held.is_ended(the_one(own_collector))


def test_sigterm_in_the_middle_of_a_log_call_lets_it_come_out_and_then_ends_the_session(
    own_collector, run_program
):
    """Here the handler interrupts the very thread that holds the lock it needs."""
    program = run_program(
        SIGTERM_ENDS + u"""
with session._pipeline._outbox.lock:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)
    session.log_event("came out")
time.sleep(30)
""",
        own_collector.url,
    )
    program.wait(20, expect=SIGTERM_STATUS)
    assert held.names(the_one(own_collector)) == ["first", "came out"]
    assert held.is_ended(the_one(own_collector))


def test_end_on_signals_goes_on_with_the_handler_that_was_there(own_collector, run_program):
    program = run_program(
        u"import signal, sys\n"
        u"def handler(number, frame):\n"
        u"    print('handled', number)\n"
        u"    sys.exit(7)\n"
        u"signal.signal(signal.SIGTERM, handler)\n"
        + SIGTERM_ENDS
        + u"print('ready')\ntime.sleep(30)",
        own_collector.url,
    )
    wait_until(lambda: "ready" in program.output, 20)
    program.signal(signal.SIGTERM)
    program.wait(10, expect=7)
    assert "handled" in program.output
    assert held.is_ended(the_one(own_collector))


# Forks

IN_CHILD = OPENS + u"""
def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        work()
        raise AssertionError("the child came out")
    return os.waitpid(child, 0)[1] >> 8
"""

LEAVES = {
    "os._exit": u"""
def work():
    session.log_event("in child")
    session.flush()
    os._exit(5)
""",
    "sys.exit": u"""
def work():
    session.log_event("in child")
    sys.exit(5)
""",
    "sys.exit unused": u"""
def work():
    sys.exit(5)
""",
    "an exception through the inherited with": u"""
def work():
    sys.stderr = open(os.devnull, "w")
    with session:
        session.log_event("in child")
        raise SystemExit(5)
""",
    "the end of the inherited with": u"""
def work():
    with session:
        session.log_event("in child")
    sys.exit(5)
""",
}


@pytest.mark.parametrize("leaving", sorted(LEAVES))
def test_a_childs_exit_neither_ends_the_session_nor_harms_its_parents_outbox(
    leaving, own_collector, run_program
):
    """The server is paused meanwhile, so that the parent's records wait in its file."""
    program = run_program(
        IN_CHILD + LEAVES[leaving] + u"""
for number in range(3):
    session.log_event("step", {"number": number})
assert in_child(work) == 5
for number in range(3, 6):
    session.log_event("step", {"number": number})
assert session.flush(timeout=20)
print("forked and flushed")
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
""",
        own_collector.url,
    )
    program.wait(30, expect=-signal.SIGKILL)
    assert "forked and flushed" in program.output
    there = the_one(own_collector)
    assert held.numbers(there) == list(range(6))
    assert held.names(there).count("in child") == (0 if "unused" in leaving else 1)
    assert there["active"] is True and len(own_collector.sessions()) == 1


def test_what_waits_in_the_parents_outbox_at_a_fork_survives_the_child_and_a_kill(
    own_collector, run_program
):
    """A child that closed what it inherited would take the parent's write-ahead log with it."""
    program = run_program(
        IN_CHILD + u"""
def work():
    sys.exit(0)
print("ready")
sys.stdin.readline()
for number in range(3):
    session.log_event("step", {"number": number})
in_child(work)
for number in range(3, 6):
    session.log_event("step", {"number": number})
os.kill(os.getpid(), signal.SIGKILL)
""",
        own_collector.url,
    )
    wait_until(lambda: "ready" in program.output, 20)
    own_collector.stop()
    program.go_on()
    program.wait(30, expect=-signal.SIGKILL)
    own_collector.start()
    run_program(SUCCESSOR, own_collector.url)
    wait_until(lambda: "session_crashed_detected" in held.names(the_one(own_collector)), 20)
    assert held.numbers(the_one(own_collector)) == list(range(6))


def test_parent_and_child_both_log_to_the_session_the_server_knew_at_the_fork(
    any_own_collector, run_program
):
    program = run_program(
        IN_CHILD + u"""
def work():
    for number in range(20):
        session.log_event("child", {"number": number})
    assert session.flush()
    assert session.stats()["sent"] == 20
    os._exit(0)
child = os.fork()
if child == 0:
    work()
for number in range(20):
    session.log_event("parent", {"number": number})
assert os.waitpid(child, 0)[1] == 0
assert session.flush()
session.end()
""",
        any_own_collector.url,
    )
    program.wait(30)
    there = the_one(any_own_collector)
    assert held.numbers(there, "child") == held.numbers(there, "parent") == list(range(20))
    assert held.is_ended(there) and len(any_own_collector.sessions()) == 1


def test_a_child_forked_before_the_server_knew_the_session_opens_its_own(
    any_own_collector, run_program
):
    any_own_collector.stop()
    program = run_program(
        IN_CHILD.replace(FLUSHES, u"") + u"""
def work():
    session.log_event("in child")
    print("child")
    sys.stdout.flush()
    sys.stdin.readline()
    assert session.flush(timeout=20)
    sys.exit(0)
print("forked from", session.local_id)
in_child(work)
assert session.flush(timeout=20)
""",
        any_own_collector.url,
    )
    wait_until(lambda: "child\n" in program.output, 20)
    any_own_collector.start()
    program.go_on()
    program.wait(40)
    own, parents = the_one(any_own_collector, "in child"), the_one(any_own_collector, "first")
    assert held.names(own) == ["session_forked", "in child"]
    assert held.event(own, "session_forked")["data"]["forked_from"] in program.output
    assert held.names(parents) == ["first"]
    assert held.is_ended(own) and held.is_ended(parents)
    assert len(any_own_collector.sessions()) == 2


def test_an_explicit_end_in_a_child_ends_the_session_they_share(own_collector, run_program):
    program = run_program(
        IN_CHILD + u"""
def work():
    session.end()
    os._exit(0)
in_child(work)
assert session.client.get_session(session.session_id)["active"] is False
os._exit(0)
""",
        own_collector.url,
    )
    program.wait(30)
    assert held.is_ended(the_one(own_collector))


@pytest.mark.parametrize("count", [30])
def test_children_forked_while_threads_log_never_hang(count, own_collector, run_program):
    program = run_program(
        IN_CHILD + u"""
import threading
going = [True]
def log():
    while going:
        session.log_event("busy", {"text": "x" * 200})
        time.sleep(0.0005)
threads = [threading.Thread(target=log) for _ in range(2)]
for thread in threads:
    thread.start()
def work():
    signal.alarm(15)
    session.log_event("in child")
    os._exit(5)
for _ in range(%d):
    assert in_child(work) == 5
del going[:]
for thread in threads:
    thread.join()
""" % count,
        own_collector.url,
    )
    program.wait(60)


def test_a_crashed_parent_is_not_declared_dead_while_its_child_lives(own_collector, run_program):
    program = run_program(
        IN_CHILD + u"""
child = os.fork()
if child == 0:
    session.log_event("in child")
    session.flush()
    print("child is there")
    sys.stdout.flush()
    sys.stdin.readline()
    session.log_event("child goes")
    sys.exit(0)
sys.stdin.readline()
os._exit(0)
""",
        own_collector.url,
    )
    wait_until(lambda: "child is there" in program.output, 20)
    program.kill()
    successor = run_program(SUCCESSOR, own_collector.url)
    wait_until(lambda: with_event(own_collector, "successor"), 20)
    assert "session_crashed_detected" not in held.names(the_one(own_collector))
    successor.kill()


def test_python_of_these_tests_is_the_one_that_runs_the_programs(run_program):
    """Guards all of the above: it is this Python whose exits and forks are looked at."""
    program = run_program(
        u"import sys\nprint(sys.version_info[:2] == %r)\n" % (tuple(sys.version_info[:2]),)
    )
    program.wait(30)
    assert program.output == u"True\n"


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="before 3.7 nobody is told")
def test_a_fork_waits_for_who_is_inside_the_outbox(own_collector, spool, tmp_path):
    """sqlite's mutexes do not survive a fork in the middle of a call."""
    env = {"DATACAT_SPOOL_DIR": str(spool), "DATACAT_URL": own_collector.url}
    with Application(FORKS_WHILE_IT_IS_HELD, tmp_path, env=env) as app:
        app.wait(20)


FORKS_BROKEN_OFF = OPENS + u"""
import itertools
from datacat.process import hooks
LIBRARY = ("hooks", "pipeline", "_compat")
pipeline = session._pipeline
locks = [pipeline._spool.lock, pipeline._outbox.lock, hooks.process_lock()]
sys.stderr = open(os.devnull, "w")  # Python says there what it ignores in a hook

class BrokenOff(BaseException):
    pass

def fork_broken_off(step):
    left = [step]

    def profile(frame, event, _):
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in LIBRARY:
            left[0] -= 1
            if left[0] == -1:
                raise BrokenOff()

    sys.setprofile(profile)
    child = os.fork()
    if not child:
        os._exit(0)
    sys.setprofile(None)
    os.waitpid(child, 0)
    return left[0] < 0

for steps in itertools.count():
    if not fork_broken_off(steps):
        break
    held = [lock for lock in locks if lock._is_owned()]
    if held:
        print("step", steps, "held", held)
        os._exit(1)
print("steps", steps)
sys.stdout.flush()
session.end()
"""


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="before 3.7 nobody is told")
def test_a_fork_that_a_handler_breaks_off_at_any_step_leaves_nothing_held(
    own_collector, run_program
):
    """Ctrl-C in a hook of the fork: Python ignores it there, and the fork goes on."""
    program = run_program(FORKS_BROKEN_OFF, own_collector.url)
    program.wait(60)
    assert int(program.output.split("steps ")[1]) > 40
    assert held.is_ended(the_one(own_collector))
