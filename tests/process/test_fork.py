"""Forks: no child hangs, none harms its parent, and both can continue the session."""

from __future__ import absolute_import, division

import os
import signal
import threading

import pytest
from programs import FLUSHES, IN_CHILD, OPENS, SUCCESSOR, UNHURRIED, the_one, with_event
from tools import held
from tools.application import Application
from tools.waiting import PATIENCE, wait_until

from datacat import locks
from datacat.process import fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

HAS_HOOKS = pytest.mark.skipif(
    not hasattr(os, "register_at_fork"), reason="Python before 3.7 has no hooks for forks"
)

LEAVES = {
    "os._exit": u"""
def work():
    session.log_event("in child")
    assert session.flush(PATIENCE)
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
    leaving, fresh_collector, run_program
):
    """The server is paused meanwhile, so that the parent's records wait in its file."""
    program = run_program(
        IN_CHILD + LEAVES[leaving] + u"""
for number in range(3):
    session.log_event("step", {"number": number})
assert in_child(work) == 5
for number in range(3, 6):
    session.log_event("step", {"number": number})
assert session.flush(PATIENCE)
print("forked and flushed")
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
""",
        fresh_collector.url,
    )
    program.wait(expect=-signal.SIGKILL)
    assert "forked and flushed" in program.output
    there = the_one(fresh_collector)
    assert held.numbers(there) == list(range(6))
    assert held.names(there).count("in child") == (0 if "unused" in leaving else 1)
    assert there["active"] is True and len(fresh_collector.sessions()) == 1


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
    wait_until(lambda: "ready" in program.output)
    own_collector.stop()
    program.proceed()
    program.wait(expect=-signal.SIGKILL)
    own_collector.start()
    run_program(SUCCESSOR, own_collector.url)
    wait_until(lambda: "session_crashed_detected" in held.names(the_one(own_collector)))
    assert held.numbers(the_one(own_collector)) == list(range(6))


def test_parent_and_child_both_log_to_the_session_the_server_knew_at_the_fork(
    any_fresh_collector, run_program
):
    program = run_program(
        IN_CHILD + u"""
def work():
    for number in range(20):
        session.log_event("child", {"number": number})
    assert session.flush(PATIENCE)
    assert session.stats()["sent"] == 20
    os._exit(0)
child = os.fork()
if child == 0:
    work()
for number in range(20):
    session.log_event("parent", {"number": number})
assert os.waitpid(child, 0)[1] == 0
assert session.flush(PATIENCE)
session.end(PATIENCE)
""",
        any_fresh_collector.url,
    )
    program.wait()
    there = the_one(any_fresh_collector)
    assert held.numbers(there, "child") == held.numbers(there, "parent") == list(range(20))
    assert held.is_ended(there) and len(any_fresh_collector.sessions()) == 1


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
    assert session.flush(PATIENCE)
    sys.exit(0)
print("forked from", session.local_id)
in_child(work)
assert session.flush(PATIENCE)
""",
        any_own_collector.url,
    )
    wait_until(lambda: "child\n" in program.output)
    any_own_collector.start()
    program.proceed()
    program.wait()
    own, parents = the_one(any_own_collector, "in child"), the_one(any_own_collector, "first")
    assert held.names(own) == ["session_forked", "in child"]
    assert held.event(own, "session_forked")["data"]["forked_from"] in program.output
    assert held.names(parents) == ["first"]
    assert held.is_ended(own) and held.is_ended(parents)
    assert len(any_own_collector.sessions()) == 2


def test_an_explicit_end_in_a_child_ends_the_session_they_share(fresh_collector, run_program):
    program = run_program(
        IN_CHILD + u"""
def work():
    session.end(PATIENCE)
    os._exit(0)
in_child(work)
assert session.client.get_session(session.session_id)["active"] is False
os._exit(0)
""",
        fresh_collector.url,
    )
    program.wait()
    assert held.is_ended(the_one(fresh_collector))


DAEMON = u"""
session = datacat.create_session(connect_wait=PATIENCE)
session.log_event("first")
assert session.flush(PATIENCE)
if os.fork():
    os._exit(0)
%s
if os.fork():
    os._exit(0)
session.log_event("in the daemon")
session.end(PATIENCE)
os.write(1, b"ended")
"""


@pytest.mark.parametrize(
    "between", ["", "session.log_event('in between')\n" + FLUSHES], ids=["", "logs"]
)
def test_a_session_that_a_daemon_ended_did_not_crash(between, any_fresh_collector, run_program):
    """The processes that forked it have exited without a goodbye, as those of daemons do."""
    program = run_program(UNHURRIED + DAEMON % between, any_fresh_collector.url)
    wait_until(lambda: "ended" in program.output)
    there = the_one(any_fresh_collector)
    assert held.is_ended(there) and "in the daemon" in held.names(there)
    run_program(SUCCESSOR, any_fresh_collector.url)
    wait_until(lambda: with_event(any_fresh_collector, "successor"))
    told = [name for name in held.names(the_one(any_fresh_collector)) if "crash" in name]
    assert told == [], "reported as crashed"


@pytest.mark.parametrize("count", [30])
def test_children_forked_while_threads_log_never_hang(count, fresh_collector, run_program):
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
    signal.alarm(60)  # where it hangs
    session.log_event("in child")
    os._exit(5)
for _ in range(%d):
    assert in_child(work) == 5
del going[:]
for thread in threads:
    thread.join()
""" % count,
        fresh_collector.url,
    )
    program.wait()


def test_a_crashed_parent_is_not_declared_dead_while_its_child_lives(fresh_collector, run_program):
    program = run_program(
        IN_CHILD + u"""
child = os.fork()
if child == 0:
    session.log_event("in child")
    session.flush(PATIENCE)
    print("child is there")
    sys.stdout.flush()
    sys.stdin.readline()
    session.log_event("child goes")
    sys.exit(0)
sys.stdin.readline()
os._exit(0)
""",
        fresh_collector.url,
    )
    wait_until(lambda: "child is there" in program.output)
    program.signal(signal.SIGKILL)
    wait_until(lambda: program.returncode is not None)
    successor = run_program(SUCCESSOR, fresh_collector.url)
    wait_until(lambda: with_event(fresh_collector, "successor"))
    assert "session_crashed_detected" not in held.names(the_one(fresh_collector))
    successor.kill()


# The hooks

FORKS_WHILE_IT_IS_HELD = OPENS + u"""
import threading
from datacat import locks
from datacat.process import registry
(pipeline,) = registry.pipelines()
is_held, is_wanted, released = threading.Event(), threading.Event(), []
forking, acquire_within = threading.current_thread(), locks.acquire_within

def acquire_and_tell(lock, seconds):
    if lock is pipeline.outbox.lock and threading.current_thread() is forking:
        is_wanted.set()
    return acquire_within(lock, seconds)

def hold():
    with pipeline.outbox.lock:
        is_held.set()
        is_wanted.wait(PATIENCE)
        released.append(True)

locks.acquire_within = acquire_and_tell
threading.Thread(target=hold).start()
is_held.wait(PATIENCE)
child = os.fork()
if not child:
    os._exit(0 if released else 3)
is_wanted.set()
status = os.waitpid(child, 0)[1]
session.end(PATIENCE)
sys.exit(status >> 8)
"""


@HAS_HOOKS
def test_a_fork_waits_for_threads_inside_the_outbox(fresh_collector, spool, tmp_path):
    """sqlite's mutexes do not survive a fork in the middle of a call."""
    env = {"DATACAT_SPOOL_DIR": str(spool), "DATACAT_URL": fresh_collector.url}
    with Application(FORKS_WHILE_IT_IS_HELD, tmp_path, env=env) as app:
        app.wait()


# Two processes die: the next run continues the outbox of one, and adopts the other.
TWO_DIE = UNHURRIED + u"""
has_file, may_die = os.pipe(), os.pipe()
child = os.fork()
session = datacat.create_session(product="p", connect_wait=0)
session.log_event("left behind")
if child:
    # Otherwise one would take the other's file.
    os.read(has_file[0], 1)
    os.write(may_die[1], b"!")
    os.waitpid(child, 0)
else:
    os.write(has_file[1], b"!")
    os.read(may_die[0], 1)
os._exit(0)
"""

# Every call of sqlite, of any thread, while another process's outbox is adopted and closed.
USES_SQLITE = UNHURRIED + u"""
import sqlite3, threading, traceback
from datacat import locks
from datacat.process import registry
from tools.waiting import wait_until
uses, unguarded = [], []

def profile(frame, event, call):
    if event == "c_call":
        owner = getattr(call, "__self__", None)
        is_method = isinstance(owner, (sqlite3.Connection, sqlite3.Cursor))
        if is_method or getattr(owner, "__name__", None) == "_sqlite3":
            uses.append(call.__name__)
            if not is_guarded():
                unguarded.append((call.__name__, "".join(traceback.format_stack(frame))))

def is_guarded():
    held = [registry.lock()]
    for pipeline in registry.pipelines():
        held.extend(pipeline.locks_over_sqlite())
    return any(locks.is_owned(lock) for lock in held)

def outboxes():
    return [each for each in os.listdir(os.environ["DATACAT_SPOOL_DIR"])
            if each.endswith(".outbox")]

assert len(outboxes()) == 2
threading.setprofile(profile)
sys.setprofile(profile)
session = datacat.create_session(product="p", connect_wait=PATIENCE)
session.update_state({"a": 1})
session.log_metric("m", 1)
assert session.flush(PATIENCE)
wait_until(lambda: len(outboxes()) == 1)
session.stats()
session.end(PATIENCE)
assert {"connect", "execute", "fetchall", "close"} <= set(uses), set(uses)
assert not unguarded, "\\n".join(" ".join(each) for each in unguarded)
"""


@HAS_HOOKS
def test_no_thread_uses_sqlite_without_a_lock_that_a_fork_waits_for(
    fresh_collector, spool, tmp_path
):
    """Not even while an adopted outbox is opened, delivered and closed."""
    env = {"DATACAT_SPOOL_DIR": str(spool), "DATACAT_URL": fresh_collector.url}
    for program in (TWO_DIE, USES_SQLITE):
        with Application(program, tmp_path, env=env) as app:
            app.wait()


INTERRUPTED_FORKS = OPENS + u"""
import itertools
from datacat import locks
from datacat.process import registry
LIBRARY = ("fork", "registry", "pipeline", "engine", "locks", "_compat")
(pipeline,) = registry.pipelines()
all_locks = [registry.lock()] + list(pipeline.locks_over_sqlite())
sys.stderr = open(os.devnull, "w")  # Python says there what it ignores in a hook

class Interrupted(BaseException):
    pass

def interrupted_fork(step):
    left = [step]

    def profile(frame, event, _):
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in LIBRARY:
            left[0] -= 1
            if left[0] == -1:
                raise Interrupted()

    sys.setprofile(profile)
    child = os.fork()
    sys.setprofile(None)
    if not child:
        os._exit(fork.sqlite_is_lost())
    assert os.waitpid(child, 0)[1] == 0, "the child takes sqlite for lost"
    return left[0] < 0

for steps in itertools.count():
    if not interrupted_fork(steps):
        break
    held = [lock for lock in all_locks if locks.is_owned(lock)]
    if held:
        print("step", steps, "held", held)
        os._exit(1)
print("steps", steps)
sys.stdout.flush()
session.end(PATIENCE)
"""


@HAS_HOOKS
def test_a_fork_whose_hooks_are_interrupted_at_any_step_leaves_nothing_locked(
    fresh_collector, run_program
):
    """Ctrl-C in a hook of the fork: Python ignores it there, and the fork goes on."""
    program = run_program(INTERRUPTED_FORKS, fresh_collector.url)
    program.wait()
    assert int(program.output.split("steps ")[1]) > 40
    assert held.is_ended(the_one(fresh_collector))


@HAS_HOOKS
def test_a_child_of_a_fork_that_could_not_wait_uses_memory_only_and_reports_it(
    fresh_collector, spool, run_program
):
    """sqlite's mutexes may be locked for ever there, and in what is forked from the child."""
    program = run_program(IN_CHILD + LOCKED_OUT, fresh_collector.url)
    program.wait()
    there = the_one(fresh_collector)
    assert held.names(there) == ["first", "child", "grandchild", "parent"]


@HAS_HOOKS
def test_all_locks_and_both_registrations_of_a_fork_share_one_deadline(
    collector, open_session, monkeypatch
):
    sessions = [open_session(collector.url, product="product %d" % each) for each in range(3)]
    now, asked, forking = [1000.0], [], threading.current_thread()
    acquire_within = locks.acquire_within

    def never_acquire(lock, seconds):
        if threading.current_thread() is not forking:
            return acquire_within(lock, seconds)
        asked.append(max(0.0, seconds))
        now[0] += asked[-1] / 2
        return len(asked) % 2 == 1

    monkeypatch.setattr(fork, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks, "acquire_within", never_acquire)
    child = os.fork()
    if not child:
        os._exit(int(fork.sqlite_is_lost()))
    monkeypatch.undo()
    assert os.waitpid(child, 0)[1] >> 8 == 1
    assert len(asked) >= 3 and sum(asked) / 2 <= fork.FREEZE_SECONDS
    for session in sessions:
        session.log_event("e")
        assert session.flush(PATIENCE)


LOCKED_OUT = u"""
import threading
from datacat.process import registry
fork.FREEZE_SECONDS = 0.25
(pipeline,) = registry.pipelines()
is_held, forked = threading.Event(), threading.Event()

def hold():
    with pipeline.outbox.lock:
        is_held.set()
        forked.wait(PATIENCE)

def log_in_memory(name, files):
    session.log_event(name)
    assert registry.pipelines()[0].outbox.path == ":memory:"
    assert "forked" in session.stats()["last_error"], session.stats()
    assert session.flush(PATIENCE) and session.stats()["in_memory"] == 0
    assert sorted(os.listdir(os.environ["DATACAT_SPOOL_DIR"])) == files

def grandchild():
    log_in_memory("grandchild", files)
    os._exit(7)

def work():
    log_in_memory("child", files)
    own = datacat.create_session(product="another")
    own.log_event("in memory, too")
    assert own.flush(PATIENCE)
    os._exit(in_child(grandchild))

before = sorted(os.listdir(os.environ["DATACAT_SPOOL_DIR"]))
(outbox,) = [name for name in before if name.endswith(".outbox")]
# The child says that it writes, too; that is no use of sqlite.
files = sorted(before + [outbox + "-shared"])
threading.Thread(target=hold).start()
is_held.wait(PATIENCE)
sys.stdout.flush()
child = os.fork()  # returns while the lock is held
if not child:
    work()
forked.set()
assert os.waitpid(child, 0)[1] >> 8 == 7
session.log_event("parent")
session.end(PATIENCE)
"""
