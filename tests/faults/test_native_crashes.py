"""Segfaults (34): the next run's crash report carries the stacks that faulthandler wrote."""

from __future__ import absolute_import, division

import os
import signal

import pytest
from tools.host import application, events_of, tell, warnings_of
from tools.waiting import wait_until

pytest.importorskip("faulthandler")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_listing = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="the system does not list descriptors"
)

SEGFAULT = -signal.SIGSEGV
SPOOL = "DATACAT_SPOOL_DIR"
CRASHES = ("session_crash_report", "session_crashed_detected")
FORKED = ("forked_process_crashed",)

HEAD = u"""
import ctypes, faulthandler
from datacat import _compat
# Without them, as on Python 3.6.
_compat.SUPPORTS_FORK_HOOKS &= "WITHOUT_HOOKS" not in os.environ
SPOOL = os.environ["DATACAT_SPOOL_DIR"]
session = open_session(connect_wait=60)
assert session.enable_faulthandler() is True

def crash_in_parent():
    ctypes.string_at(0)

def crash_in_child():
    ctypes.string_at(0)

def sizes():
    # {process id: how many bytes are in its file}
    names = [name for name in os.listdir(SPOOL) if name.endswith(".stacks")]
    return dict((int(name.split(".")[2]), os.path.getsize(os.path.join(SPOOL, name)))
                for name in names)

def descriptors():
    # Those of files with stacks.
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink("/proc/self/fd/" + number)
        except OSError:
            continue
        if path.endswith(".stacks"):
            found.append(int(number))
    return found

def wait_until(condition):
    end = time.time() + 120
    while not condition():
        assert time.time() < end, "in vain"
        time.sleep(0.01)

def forked(work):
    # Returns the signal that ended the child.
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] & 127
"""

NEXT_RUN = u"""
session = open_session()
wait_for("finish")
"""


def run(program, folder, server, spool, expect=0, **env):
    """Run a program to its end; return the Application."""
    env[SPOOL] = str(spool)
    with application(HEAD + program, folder, server.url, env=env) as app:
        app.wait(expect=expect)
    return app


def told(folder, server, spool, *names):
    """Have the next run report crashes; return {name: data} of the events, one of each name."""
    workplace = folder / "next"
    workplace.mkdir()

    def found():
        whole = [server.session(each["id"]) for each in server.sessions()]
        every = [(name, data) for name in names for data in events_of(whole, name)]
        # Not the event that a v1 server writes itself.
        return [(name, data) for name, data in every if "process" in data]

    with application(NEXT_RUN, workplace, server.url, env={SPOOL: str(spool)}) as app:
        wait_until(lambda: len(found()) >= (2 if FORKED[0] in names else 1))
        tell(workplace, "finish")
        app.wait()
    assert not files_in(spool)
    return dict(found())


def files_in(spool):
    return [name for name in os.listdir(str(spool)) if name.endswith(".stacks")]


def crash_of(reports):
    (data,) = [data for name, data in reports.items() if name in CRASHES]
    return data


def test_a_crash_reported_late_by_a_later_run_has_its_own_stacks(make_collector, tmp_path, spool):
    """Runs that crash while the server is away have one outbox, one after the other."""
    collector = make_collector().start()
    collector.stop()
    offline = HEAD.replace(u"connect_wait=60", u"connect_wait=0")
    for name in ("first", "second"):
        program = offline + u"def %s():\n    crash_in_parent()\n%s()\n" % (name, name)
        env = {SPOOL: str(spool)}
        with application(program, tmp_path, collector.url, env=env) as app:
            app.wait(expect=SEGFAULT)
    assert len(files_in(spool)) == 2
    collector.start()

    def reports():
        whole = [collector.session(each["id"]) for each in collector.sessions()]
        return events_of(whole, CRASHES[0])

    with application(NEXT_RUN, tmp_path, collector.url, env={SPOOL: str(spool)}) as app:
        wait_until(lambda: len(reports()) == 2)
        tell(tmp_path, "finish")
        app.wait()
    for name, report in zip(("first", "second"), reports()):
        assert " in %s\n" % name in report["stacks"]
    assert not files_in(spool)


@needs_fork
@pytest.mark.parametrize("has_hooks", [True, False])
def test_a_forked_childs_crash_is_not_its_parents(server, tmp_path, spool, has_hooks):
    """The child that has logged has a file of its own, any other one none."""
    program = u"""
me = os.getpid()
def silent():
    crash_in_child()
if %(has_hooks)s:
    assert forked(silent) == signal.SIGSEGV
assert sizes() == {me: 0}, sizes()

def logging():
    session.log_event("child")
    wait_until(lambda: os.getpid() in sizes() and faulthandler.is_enabled())
    crash_in_child()

assert forked(logging) == signal.SIGSEGV
found = sizes()
assert len(found) == 2 and not found.pop(me) and all(found.values()), sizes()
assert faulthandler.is_enabled()
session.flush(60)
os.kill(me, signal.SIGKILL)
""" % {"has_hooks": has_hooks}
    env = {} if has_hooks else {"WITHOUT_HOOKS": "yes"}
    run(program, tmp_path, server, spool, -signal.SIGKILL, **env)
    reports = told(tmp_path, server, spool, *(CRASHES + FORKED))
    assert crash_of(reports)["reason"] == "abnormal_termination"
    assert "stacks" not in crash_of(reports)
    child = reports[FORKED[0]]
    assert child["reason"] == "native_crash" and " in crash_in_child\n" in child["stacks"]
    assert child["process"] != crash_of(reports)["process"]


@needs_fork
def test_a_childs_crash_leaves_a_parent_that_ends_without_a_trace(server, tmp_path, spool):
    run(
        u"""
assert forked(crash_in_child) == signal.SIGSEGV
session.end(60)
assert not sizes() and not faulthandler.is_enabled()
""",
        tmp_path,
        server,
        spool,
    )
    whole = [server.session(each["id"]) for each in server.sessions()]
    assert not any(events_of(whole, name) for name in CRASHES + FORKED)


@needs_listing
@pytest.mark.parametrize("takes_its_number", [False, True])
def test_a_program_that_closes_all_descriptors_finds_nothing_in_its_files(
    server, tmp_path, spool, takes_its_number
):
    """Neither at once, nor after the number went to another file and something was logged."""
    run(
        u"""
from datacat.process import registry
assert session.flush(60)
# The keeper rests then, and looks at no descriptor.
wait_until(lambda: not any(each.outbox.unsynced for each in registry.pipelines()))
(number,) = descriptors()
os.closerange(3, 65536)
mine = [os.open("mine-%%d" %% each, os.O_CREAT | os.O_RDWR) for each in range(40)]
if %s:
    os.dup2(mine[0], number)
    session.log_event("wakes the keeper")
    wait_until(descriptors)
crash_in_parent()
""" % takes_its_number,
        tmp_path,
        server,
        spool,
        SEGFAULT,
    )
    mine = [str(tmp_path / ("mine-%d" % number)) for number in range(40)]
    assert [os.path.getsize(path) for path in mine] == [0] * 40
    report = crash_of(told(tmp_path, server, spool, *CRASHES))
    assert "stacks" in report or not takes_its_number


def test_faulthandler_that_the_program_enables_is_left_alone(server, tmp_path, spool):
    app = run(
        u"""
faulthandler.disable()
assert session.enable_faulthandler() is True, "undone by disabling it"
with open("own", "w") as own:
    faulthandler.enable(own)
    assert session.enable_faulthandler() is False
    crash_in_parent()
""",
        tmp_path,
        server,
        spool,
        SEGFAULT,
    )
    assert len(warnings_of(app, "left alone")) == 1, app.output
    with open(str(tmp_path / "own")) as own:
        assert "crash_in_parent" in own.read()
    report = crash_of(told(tmp_path, server, spool, *CRASHES))
    assert report["reason"] == "abnormal_termination" and "stacks" not in report
