"""Qt, with each of its bindings that is installed: exceptions, hangs, and the end of the session.

`nox -s gui` installs them all.
"""

from __future__ import absolute_import, division

import pytest
from tools import held, toolkits
from tools.waiting import PATIENCE, wait_until

OFFSCREEN = {"QT_QPA_PLATFORM": "offscreen", "QT_LOGGING_RULES": "*=false"}

OPENS = u"""
import datacat, os, sys, threading, time
from %(binding)s import QtCore, QtGui, QtWidgets
from datacat.integrations.qt import watch
from datacat.process import shutdown
from tools.waiting import PATIENCE
shutdown.EXIT_SECONDS = PATIENCE
session = datacat.create_session(connect_wait=PATIENCE)
class Editor(QtWidgets.QApplication):
    pass
app = Editor([])
run = getattr(app, "exec", None) or app.exec_
def later(function, milliseconds=0):
    QtCore.QTimer.singleShot(milliseconds, function)
def recorded():
    stats = session.stats()
    return stats["sent"] + stats["waiting"]
"""

EDITOR = OPENS + u"""
def fails():
    raise KeyError("in a slot")
def blocks_the_loop():
    before = recorded()
    while recorded() == before:
        time.sleep(0.02)
    goes_on()
def goes_on(before=[]):
    before.append(recorded())
    if before[-1] == before[0]:
        later(goes_on, 20)
    else:
        session.log_event("goes on")
        app.quit()
watched = watch(app, session, timeout=0.5)
later(fails)
later(blocks_the_loop, 100)
run()
session.log_event("last words")
watched.stop()
app.quit()
assert sys.excepthook is sys.__excepthook__
sys.stdout.write("out")
"""

# As Windows does it: the process is gone as soon as the slots have run.
ENDED_BY_THE_SYSTEM = OPENS + u"""
import ctypes, importlib, re
def leave(*_):
    os._exit(0)
def system_quits():
    app.quit()
def address():
    if "%(binding)s" == "PySide6":
        import shiboken6
        return shiboken6.getCppPointer(app)[0]
    return importlib.import_module("%(binding)s.sip").unwrapinstance(app)
def system_asks_for_data():
    # Nobody can make a QSessionManager, and it is not looked at: the application passes for one.
    with open("/proc/self/maps") as maps:
        library = re.search(r"\\S*/libQt[0-9]Gui\\S*", maps.read()).group()
    emit = ctypes.CDLL(library)._ZN15QGuiApplication17commitDataRequestER15QSessionManager
    emit.argtypes = [ctypes.c_void_p] * 2
    emit(address(), address())
watch(app, session)
app.aboutToQuit.connect(leave)
app.commitDataRequest.connect(leave)
later(%(ends)s)
run()
"""


@pytest.fixture(params=["PySide6", "PyQt6", "PyQt5"])
def binding(request):
    program = "from %s import QtCore, QtGui, QtWidgets" % request.param
    toolkits.need(request.param, program)
    return request.param


def the_only_session(collector):
    (listed,) = collector.sessions()
    return collector.session(listed["id"])


def test_an_application_needs_one_line(binding, fresh_collector, run_program):
    program = run_program(EDITOR % {"binding": binding}, fresh_collector.url, **OFFSCREEN)
    program.wait()
    assert program.output.endswith("out"), "PyQt goes on, as PySide does"
    there = the_only_session(fresh_collector)
    error, hang, _, goes_on, last = [
        each for each in there["events"] if each["name"] in held.names(there)
    ]
    assert error["exception_type"] == "KeyError" and error["data"]["handled"] is False
    assert error["data"]["mechanism"] == "sys.excepthook" and "KeyError" in program.output
    assert hang["name"] == "application_appears_hung" and hang["data"]["monitor"] == "qt"
    assert hang["data"]["stacks"][0]["thread"] == "MainThread"
    assert any("blocks_the_loop" in line for line in hang["data"]["stacks"][0]["stack"])
    assert (goes_on["name"], last["name"]) == ("goes on", "last words")
    assert held.is_ended(there)


@pytest.mark.parametrize("ends", ["system_quits", "system_asks_for_data"])
def test_the_end_of_a_windows_session_is_recorded(binding, ends, fresh_collector, run_program):
    source = ENDED_BY_THE_SYSTEM % {"binding": binding, "ends": ends}
    run_program(source, fresh_collector.url, **OFFSCREEN).wait()
    next_run = u"import datacat, sys\nsession = datacat.create_session()\nsys.stdin.readline()\n"
    with run_program(next_run, fresh_collector.url):
        wait_until(
            lambda: any(
                held.is_ended(fresh_collector.session(each["id"]))
                for each in fresh_collector.sessions()
            ),
            PATIENCE,
        )
