"""Logging from where Python interrupts a program (18): nothing hangs, nothing is lost."""
from __future__ import absolute_import, division

import os
import sys

import pytest
from tools.call_times import SICK_DISK, check_bounds
from tools.host import (
    application,
    await_word,
    deliver_what_is_left,
    said,
)

# What interrupts counts how often it found the library's own code in the middle of an append.
COUNTING = u"""
struck = [0, 0]
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
        # Its successor is garbage at once, so that every collection runs a finalizer.
        if running and struck[1] < most:
            Mortal()
        inside = struck[1]
        note_where(sys._getframe())
        if struck[1] > inside or struck[0] % 50 == 0:
            dying.log_event("finalized", {"inside": struck[1]})

running = [True]
most = 200 * float(sys.argv[3])
until = time.time() + float(sys.argv[3])
Mortal()
gc.set_threshold(3, 1000, 1000)
while time.time() < until:
    recorder.log_event("living", {"nested": [{"some": ["text"]}]})
    recorder.update_state({"living": True})
    time.sleep(0.002)
del running[:]
gc.set_threshold(700, 10, 10)
gc.collect()
session.end(20)
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
until = time.time() + float(sys.argv[3])
while time.time() < until:
    recorder.log_event("working")
    recorder.log_metric("m", 1)
    recorder.update_state({"a": {"b": 1}})
    time.sleep(0.002)
signal.setitimer(signal.ITIMER_REAL, 0)
session.flush(20)
session.end(20)
say("ended", struck=struck[0], inside=struck[1], **session.stats())
"""


NEVER_COLLECTED = pytest.mark.skipif(
    sys.version_info < (3, 4), reason="Python 2 never collects cycles that have finalizers")


@pytest.mark.parametrize("program, struck", [
    pytest.param(FINALIZERS, 200, marks=NEVER_COLLECTED), (SIGNALS, 200),
], ids=["finalizers", "signals at 1 kHz"])
def test_logging_while_the_outbox_is_held_in_the_same_thread_neither_hangs_nor_loses(
        own_collector, spool, tmp_path, scaled, program, struck):
    """Accepted means kept: what interrupts an append is on disk when the append is over."""
    seconds = scaled(1, 60)
    with application(program, tmp_path, own_collector.url, (seconds,),
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        ended = await_word(app, "ended", seconds + 60)
        app.wait(10)
    assert ended["struck"] >= struck
    assert ended["inside"] >= struck // 20, "the outbox was hardly ever interrupted"
    assert (ended["dead"], ended["dropped"], ended["merged"], ended["possibly_twice"]) == (0,) * 4
    deliver_what_is_left(own_collector, [app.accepted], tmp_path, scaled(60, 600))
    # A call contains the calls that interrupt it, hundreds where they come at each allocation.
    check_bounds([app.accepted], SICK_DISK, usual=0.050)


AT_EXIT = u"""
import atexit
recorders = []
log_last = lambda when: recorders[0].log_event("last words", {"when": when})
atexit.register(log_last, "after datacat's own")
session = open_session()
recorders.append(recorder_of(session))
atexit.register(log_last, "before datacat's own")
recorders[0].log_event("working")
"""

LATE_THREAD = u"""
import atexit
session = open_session()
recorder = recorder_of(session)

def outlive_main(patience):
    recorder.log_event("before the main thread's end")
    main = [each for each in threading.enumerate() if each.name == "MainThread"][0]
    main.join()
    time.sleep(patience)
    recorder.log_event("after the main thread's end")

threading.Thread(target=outlive_main, args=(0.1,)).start()
"""

NEVER_STOPS = u"""
session = open_session()

def log_for_ever(recorder):
    while True:
        recorder.log_event("and on")
        time.sleep(0.01)

for number in range(3):
    each = threading.Thread(target=log_for_ever, args=(recorder_of(session, "d%d" % number),))
    each.daemon = True
    each.start()
time.sleep(0.3)
"""

FIRST_AT_EXIT = u"""
import atexit

@atexit.register
def begin_late():
    session = open_session()
    recorder_of(session).log_event("began at exit")
"""

HOOKED = u"""
session = open_session()
recorder = recorder_of(session)
sys.excepthook = lambda kind, error, trace: recorder.log_exception(error, {"hooked": True})
recorder.log_event("working")
raise LookupError("nobody catches this")
"""


@pytest.mark.parametrize("program, least, status", [
    (AT_EXIT, 3, 0), (LATE_THREAD, 2, 0), (NEVER_STOPS, 30, None), (FIRST_AT_EXIT, 1, 0),
    (HOOKED, 2, 1),
], ids=["atexit", "thread", "daemon threads", "first at exit", "excepthook"])
@pytest.mark.parametrize("away", [False, True], ids=["server there", "server away"])
def test_last_words_at_the_end_of_the_interpreter_are_kept(
        make_collector, spool, tmp_path, program, least, status, away):
    """Exit: what is logged on the way out arrives, by the next run if need be, and in time."""
    collector = make_collector().start()
    if away:
        collector.stop()
    with application(u"began = time.time()\n" + program, tmp_path, collector.url,
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        app.wait(15, expect=status)
    if away:
        collector.start()
    report = deliver_what_is_left(collector, [app.accepted], tmp_path)
    assert report.accepted >= least
    assert "Traceback" not in app.output, app.output


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 refuses new threads at exit")
def test_a_session_opened_when_no_thread_starts_any_more_is_delivered_by_the_next_run(
        own_collector, spool, tmp_path):
    """Exit: 3.12 and newer start no thread at exit; the file keeps what the next run sends."""
    program = u"""
class Late(object):
    def __del__(self):
        session = datacat.create_session(URL, product="host-faults", version="1",
                                         spool_dir=os.environ["DATACAT_SPOOL_DIR"])
        recorder_of(session).log_event("too late for threads")
import threading
threading._register_atexit(lambda: Late())
"""
    with application(program, tmp_path, own_collector.url,
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        app.wait(15)
    report = deliver_what_is_left(own_collector, [app.accepted], tmp_path)
    assert report.accepted == 1, app.output
    assert said(app, "anything") == [] and os.path.exists(str(spool))
