"""Logging from where Python interrupts a program (18): nothing hangs, nothing is lost."""

from __future__ import absolute_import, division

import os
import sys

import pytest
from tools.call_times import SICK_DISK, check_calls
from tools.host import application, await_word, deliver_what_is_left
from tools.invariants import compare

# The interrupting code counts how often it interrupted, and how often an append; the program goes
# on until that is often enough.  Calls that meet others give up waiting as in production.
COUNTING = u"""
call_times.be_patient(False)
struck, enough = [0, 0], [int(sys.argv[3]), int(sys.argv[4])]

def is_enough():
    return struck[0] >= enough[0] and struck[1] >= enough[1]

WHERE_IT_IS_HELD = ("outbox", "intake", "disk", "store")

def note_where(frame):
    struck[0] += 1
    while frame is not None:
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in WHERE_IT_IS_HELD:
            struck[1] += 1
            return
        frame = frame.f_back
"""

FINALIZERS = COUNTING + u"""
session = open_session()
recorder, dying = recorder_of(session), recorder_of(session, "finalizer")

class Mortal(object):
    def __init__(self):
        self.itself = self

    def __del__(self):
        # The next one is garbage at once, so that every collection runs a finalizer.
        if running and struck[1] < most:
            Mortal()
        inside = struck[1]
        note_where(sys._getframe())
        if struck[1] > inside or struck[0] % 50 == 0:
            dying.log_event("finalized", {"inside": struck[1]})

running = [True]
most = 20 * enough[1]
Mortal()
gc.set_threshold(3, 1000, 1000)
while not is_enough():
    recorder.log_event("living", {"nested": [{"some": ["text"]}]})
    recorder.update_state({"living": True})
    time.sleep(0.002)
del running[:]
gc.set_threshold(700, 10, 10)
gc.collect()
recorder_of(session, "last").log_event("after all")
session.end(300)
say("ended", struck=struck[0], inside=struck[1], **session.stats())
"""

SIGNALS = COUNTING + u"""
session = open_session()
recorder, interrupting = recorder_of(session), recorder_of(session, "handler")

def on_alarm(number, frame):
    note_where(frame)
    interrupting.log_event("interrupted", {"number": struck[0]})

signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while not is_enough():
    recorder.log_event("working")
    recorder.log_metric("m", 1)
    recorder.update_state({"a": {"b": 1}})
    time.sleep(0.001)
signal.setitimer(signal.ITIMER_REAL, 0)
session.flush(300)
recorder_of(session, "last").log_event("after all")
session.end(300)
say("ended", struck=struck[0], inside=struck[1], **session.stats())
"""

# Other threads log without a pause, so that a call is mostly waiting when it is interrupted.
# Interrupted calls are not recorded: their records may be kept or not.
RAISING = u"""
call_times.be_patient(False)

class Interrupted(BaseException):
    pass

session = open_session()
recorders = [recorder_of(session, "b%d" % each) for each in range(3)]
stopping, struck = [], 0

def log():
    session.log_event("interrupted")

def fork():
    if not os.fork():
        os._exit(0)

step = {"log": log, "fork": fork}[sys.argv[4]]

def on_alarm(number, frame):
    global struck
    # Not in other hooks: if logging's own is interrupted, its lock stays held for ever.
    if frame.f_code.co_filename.startswith(os.path.dirname(datacat.__file__)):
        struck += 1
        raise Interrupted()

def log_on(recorder):
    while not stopping:
        for _ in range(50):
            session.log_event("unrecorded")
        recorder.log_event("beside")

def fork_on():
    while step is fork and not stopping:
        fork()

def strike(times):
    # Repeatedly, because Python ignores exceptions in fork hooks.
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    goal = struck + times
    while struck < goal:
        try:
            step()
        except Interrupted:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)

def strike_beside_others(times):
    del stopping[:]
    beside = [threading.Thread(target=log_on, args=(each,)) for each in recorders]
    beside.append(threading.Thread(target=fork_on))
    for thread in beside:
        thread.start()
    strike(times)
    stopping.append(True)
    for thread in beside:
        thread.join()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the children
signal.signal(signal.SIGALRM, on_alarm)
for _ in range(int(sys.argv[3])):
    strike_beside_others(15)
    assert session.flush(600), session.stats()
recorder_of(session, "last").log_event("after all")
session.end(300)
say("ended", struck=struck, **session.stats())
"""


HAS_HOOKS = pytest.mark.skipif(
    not hasattr(os, "register_at_fork"), reason="Python has fork hooks since 3.7"
)


@pytest.mark.parametrize("step", ["log", pytest.param("fork", marks=HAS_HOOKS)])
def test_calls_interrupted_by_an_exception_leave_nothing_locked(
    own_collector, spool, tmp_path, scaled, step
):
    """Ctrl-C that the application survives stops neither its other threads nor the sender."""
    rounds = scaled(1, 10)
    with application(
        RAISING, tmp_path, own_collector.url, (rounds, step), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        ended = await_word(app, "ended", 600 * rounds)
        app.wait()
    assert ended["struck"] >= 15 * rounds, ended
    assert (ended["dead"], ended["dropped"], ended["merged"], ended["possibly_twice"]) == (0,) * 4
    assert ended["waiting"] == 0
    report = compare([app.accepted], own_collector.sessions())
    # Every recorded call arrived; nothing is known of the others.
    assert report.accepted and not report.deviations["lost"] and not report.deviations["twice"]


NEVER_COLLECTED = pytest.mark.skipif(
    sys.version_info < (3, 4), reason="Python 2 never collects cycles that have finalizers"
)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(FINALIZERS, marks=NEVER_COLLECTED),
        SIGNALS,
    ],
    ids=["finalizers", "signals at 1 kHz"],
)
def test_logging_while_the_same_thread_holds_the_outbox_neither_hangs_nor_loses(
    own_collector, spool, tmp_path, scaled, program
):
    """Accepted means kept: a record logged during an append is on disk when the append is done."""
    enough = scaled((140, 7), (3000, 150))
    with application(
        program, tmp_path, own_collector.url, enough, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        ended = await_word(app, "ended", 600)
        app.wait()
    assert (ended["struck"], ended["inside"]) >= enough
    assert (ended["dead"], ended["dropped"], ended["merged"], ended["possibly_twice"]) == (0,) * 4
    deliver_what_is_left(own_collector, [app.accepted], tmp_path, scaled(120, 300))
    check_calls([app.accepted])


# Each program says when it has nothing left to do but exit; Application.wait checks the exit.
LEAVING = u"""
leave = farewells.leave
"""

AT_EXIT = u"""
import atexit
recorders = []
log_last = lambda when: recorders[0].log_event("last words", {"when": when})
atexit.register(log_last, "after datacat's own")
session = open_session()
recorders.append(recorder_of(session))
atexit.register(log_last, "before datacat's own")
recorders[0].log_event("working")
leave()
"""

LATE_THREAD = u"""
def outlive_main():
    main = [each for each in threading.enumerate() if each.name == "MainThread"][0]
    main.join()
    time.sleep(0.1)
    log_late()
    leave()

threading.Thread(target=outlive_main).start()
"""

LAST_IN_LATE_THREAD = u"""
session = open_session()
recorder = recorder_of(session)
recorder.log_event("before the main thread's end")
log_late = lambda: recorder.log_event("after the main thread's end")
""" + LATE_THREAD

# From 3.12 on no thread can be started then.
FIRST_IN_LATE_THREAD = u"""
log_late = lambda: recorder_of(open_session(connect_wait=0.5)).log_event("only now")
""" + LATE_THREAD

NEVER_STOPS = u"""
session = open_session()

logged = []

def log_for_ever(recorder):
    while True:
        recorder.log_event("and on")
        logged.append(1)
        time.sleep(0.01)

for number in range(3):
    each = threading.Thread(target=log_for_ever, args=(recorder_of(session, "d%d" % number),))
    each.daemon = True
    each.start()
while len(logged) < 30:
    time.sleep(0.01)
leave()
"""

FIRST_AT_EXIT = u"""
import atexit

@atexit.register
def begin_late():
    session = open_session()
    recorder_of(session).log_event("began at exit")
    leave()
"""

# Runs when Python clears its modules, after atexit.
TAKEN_APART = u"""
class Last(object):
    def __init__(self, recorder):
        self.recorder = recorder

    def __del__(self):
        self.recorder.log_event("while Python is taken apart")

session = open_session()
last = Last(recorder_of(session))
last.recorder.log_event("working")
leave()
"""

HOOKED = u"""
session = open_session()
recorder = recorder_of(session)
sys.excepthook = lambda kind, error, trace: recorder.log_exception(error, {"hooked": True})
recorder.log_event("working")
leave()
raise LookupError("nobody catches this")
"""


# Python 2 prints this for any daemon thread, because it clears the names that the thread uses.
TAKEN_APART_FIRST = "(most likely raised during interpreter shutdown)"


@pytest.mark.parametrize(
    "program, least, status",
    [
        (AT_EXIT, 3, 0),
        (LAST_IN_LATE_THREAD, 2, 0),
        (FIRST_IN_LATE_THREAD, 1, 0),
        (NEVER_STOPS, 30, 0),
        (FIRST_AT_EXIT, 1, 0),
        (TAKEN_APART, 2, 0),
        (HOOKED, 2, 1),
    ],
    ids=[
        "atexit",
        "thread",
        "first in a thread",
        "daemon threads",
        "first at exit",
        "taken apart",
        "excepthook",
    ],
)
@pytest.mark.parametrize("away", [False, True], ids=["server there", "server away"])
def test_what_is_logged_during_exit_is_kept(
    make_collector, spool, tmp_path, program, least, status, away
):
    """Exit: it arrives, if need be by the next run, and the exit keeps its time."""
    collector = make_collector().start()
    if away:
        collector.stop()
    with application(
        LEAVING + program, tmp_path, collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait(expect=status)
    if away:
        collector.start()
    report = deliver_what_is_left(collector, [app.accepted], tmp_path)
    assert report.accepted >= least
    if TAKEN_APART_FIRST not in app.output:
        assert "Traceback" not in app.output and "ignored" not in app.output, app.output
    check_calls([app.accepted], SICK_DISK)
