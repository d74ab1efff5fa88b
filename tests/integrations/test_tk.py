"""Tk: exceptions in callbacks, hangs, and windows that are destroyed, with a real display.

`nox -s gui` brings one.
"""

from __future__ import absolute_import, division

import pytest
from tools import held, toolkits
from tools.waiting import PATIENCE, wait_until

OPENS = u"""
import datacat, os, sys, threading, time
from six.moves import tkinter
from datacat.integrations.tk import watch
from datacat.process import shutdown
from tools.waiting import PATIENCE
shutdown.EXIT_SECONDS = PATIENCE
session = datacat.create_session(connect_wait=PATIENCE)
def recorded():
    stats = session.stats()
    return stats["sent"] + stats["waiting"]
def fails():
    raise KeyError("in a callback")
"""


@pytest.fixture(scope="module")
def display():
    toolkits.need("Tk", "from six.moves import tkinter; tkinter.Tk().destroy()")


@pytest.fixture
def run(display, fresh_collector, run_program):
    """Runs a program to its end; returns its output and the only session's events."""

    def run_to_the_end(source):
        program = run_program(OPENS + source, fresh_collector.url)
        program.wait()
        (listed,) = fresh_collector.sessions()
        there = fresh_collector.session(listed["id"])
        events = [each for each in there["events"] or () if each["name"] in held.names(there)]
        return program.output, events

    return run_to_the_end


def test_an_application_needs_one_line(run):
    output, events = run(u"""
root = tkinter.Tk()
def blocks_the_loop():
    before = recorded()
    while recorded() == before:
        time.sleep(0.02)
    goes_on()
def goes_on(before=[]):
    before.append(recorded())
    if before[-1] == before[0]:
        root.after(20, goes_on)
    else:
        session.log_event("goes on")
        root.destroy()
watch(root, session, timeout=0.5)
tkinter.Button(root, command=fails).invoke()
root.after(100, blocks_the_loop)
root.mainloop()
""")
    error, hang, _, goes_on = events
    assert error["exception_type"] == "KeyError" and error["data"]["handled"] is False
    assert error["data"]["mechanism"] == "tk" and "KeyError" in output
    assert hang["name"] == "application_appears_hung" and hang["data"]["monitor"] == "tk"
    assert any("blocks_the_loop" in line for line in hang["data"]["stacks"][0]["stack"])
    assert goes_on["name"] == "goes on"


def test_a_window_may_be_destroyed_while_another_goes_on(run):
    """Neither a hang nor a call of what is gone; the other one is watched as before."""
    output, events = run(u"""
first, second = tkinter.Tk(), tkinter.Tk()
# Takes the place of every other such binding.
first.bind("<Destroy>", lambda event: None)
for root in (first, second):
    watch(root, session, timeout=0.3)
first.after(100, first.destroy)
def in_the_second():
    tkinter.Button(second, command=fails).invoke()
    other = session.add_heartbeat_monitor("hangs meanwhile", timeout=0.5)
    other.heartbeat()
    finish(recorded())
def finish(before):
    if recorded() == before:
        second.after(20, finish, before)
    else:
        second.destroy()
second.after(200, in_the_second)
second.mainloop()
""")
    error, hang = events
    assert error["exception_type"] == "KeyError"
    assert hang["data"]["monitor"] == "hangs meanwhile"
    assert "invalid command" not in output and output.count("Traceback") == 1


def test_what_a_subclass_reports_goes_on(run):
    output, events = run(u"""
class Editor(tkinter.Tk, object):
    def report_callback_exception(self, kind, error, trace):
        sys.stdout.write("reported %s\\n" % kind.__name__)
    def destroy(self):
        sys.stdout.write("destroyed\\n")
        tkinter.Tk.destroy(self)
root = Editor()
def leave():
    raise KeyboardInterrupt()
button = tkinter.Button(root, command=fails)
with watch(root, session):
    for command in (fails, leave):
        button.config(command=command)
        button.invoke()
assert "report_callback_exception" not in vars(root)
button.config(command=fails)
button.invoke()
own = root.report_callback_exception = lambda *triple: sys.stdout.write("own\\n")
watched = watch(root, session)
button.invoke()
watched.stop()
assert root.report_callback_exception is own
watch(root, session)
root.after(50, root.tk.eval, root.protocol("WM_DELETE_WINDOW"))
root.mainloop()
""")
    assert [event["exception_type"] for event in events] == ["KeyError"] * 2
    assert output.split() == (
        "reported KeyError reported KeyboardInterrupt reported KeyError own destroyed".split()
    )


def test_the_end_of_a_windows_session_is_recorded(display, fresh_collector, run_program):
    """As Windows does it: the process is gone as soon as Tk's protocol has been called."""
    program = run_program(
        OPENS + u"""
root = tkinter.Tk()
def leave():
    sys.stdout.write("the application's own\\n")
    sys.stdout.flush()
    os._exit(0)
root.protocol("WM_SAVE_YOURSELF", leave)
watch(root, session)
root.after(50, root.tk.eval, root.protocol("WM_SAVE_YOURSELF"))
root.mainloop()
""",
        fresh_collector.url,
    )
    program.wait()
    assert "the application's own" in program.output
    next_run = u"import datacat, sys\nsession = datacat.create_session()\nsys.stdin.readline()\n"
    with run_program(next_run, fresh_collector.url):
        wait_until(
            lambda: any(
                held.is_ended(fresh_collector.session(each["id"]))
                for each in fresh_collector.sessions()
            ),
            PATIENCE,
        )
