"""Exceptions that nothing handles are logged, each once, and what was there before still runs."""

from __future__ import absolute_import, division

import sys
import threading

import pytest
from tools import held
from tools.waiting import PATIENCE

HAS_THREAD_HOOK = hasattr(threading, "excepthook")
HAS_UNRAISABLE_HOOK = hasattr(sys, "unraisablehook")

# Takes away the time limit of the exit, which a busy machine would pass.
OPENS = u"""
import datacat, logging, os, sys, threading
from datacat.process import shutdown
from tools.waiting import PATIENCE
shutdown.EXIT_SECONDS = PATIENCE
session = datacat.create_session(connect_wait=PATIENCE)
"""


def events_of(collector):
    """Return the events of the only session, without those about the session."""
    (listed,) = collector.sessions()
    there = collector.session(listed["id"])
    return [each for each in there["events"] or () if each["name"] in held.names(there)]


@pytest.fixture
def session(collector, open_session):
    return open_session(collector.url)


@pytest.fixture
def quiet_hooks(monkeypatch):
    """Hooks that only note what they are called with."""
    called = []
    for place, name in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        if hasattr(place, name):
            monkeypatch.setattr(place, name, lambda *given: called.append(given))
    return called


def raised(error):
    try:
        raise error
    except BaseException:
        return sys.exc_info()


def told(session):
    return [event["data"] for event in session.get_details(PATIENCE)["events"] or ()]


def test_one_exception_that_ends_a_program_is_one_event_whoever_sees_it(
    fresh_collector, run_program
):
    program = run_program(
        OPENS + u"""
from datacat.integrations.logging import DatacatHandler
logging.getLogger().addHandler(DatacatHandler(session))
session.install_exception_hooks()
def work():
    try:
        1 / 0
    except ZeroDivisionError:
        session.log_exception()
        logging.exception("failed: %s", "it")
        session.log_exception({"step": 3})
        raise
with session:
    try:
        work()
    finally:
        sys.stdout.write("seen again: %d\\n" % session.stats()["seen_again"])
""",
        fresh_collector.url,
    )
    program.wait(expect=1)
    first, line, added = events_of(fresh_collector)
    assert (first["name"], first["data"]["type"]) == ("exception", "ZeroDivisionError")
    assert line["name"] == added["name"] == "exception_seen_again"
    assert line["message"] == "failed: it" and added["data"]["step"] == 3
    references = [each["data"]["exception_id"] for each in (first, line, added)]
    assert len(set(references)) == 1
    assert "seen again: 2" in program.output
    assert program.output.count("ZeroDivisionError") == 1, "by the hook that was there before"


def test_unhandled_exceptions_of_a_program_say_how_they_were_found(fresh_collector, run_program):
    program = run_program(
        OPENS + u"""
session.install_exception_hooks()
class Late(object):
    def __del__(self):
        raise KeyError("in __del__")
Late()
class Worker(threading.Thread):
    def run(self):
        raise IOError("in a thread")
def leave():
    raise SystemExit(3)
for thread in (Worker(name="worker"), threading.Thread(target=leave)):
    thread.start()
    thread.join()
raise RuntimeError("at the end")
""",
        fresh_collector.url,
    )
    program.wait(expect=1)
    events = dict((event["data"]["mechanism"], event) for event in events_of(fresh_collector))
    assert all(event["data"]["handled"] is False for event in events.values())
    thread = events["threading.excepthook" if HAS_THREAD_HOOK else "threading.Thread.run"]
    assert thread["data"]["message"] == "in a thread" and thread["data"]["thread"] == "worker"
    assert thread["source_function"] == "run"
    assert events["sys.excepthook"]["data"]["message"] == "at the end"
    if HAS_UNRAISABLE_HOOK:
        ignored = events["sys.unraisablehook"]["data"]
        assert ignored["message"] == "'in __del__'" and "__del__" in ignored["object"]
    assert len(events) == 2 + HAS_UNRAISABLE_HOOK
    for message in ("in __del__", "in a thread", "at the end"):
        assert message in program.output


def test_what_goes_wrong_while_the_interpreter_ends_is_not_logged(fresh_collector, run_program):
    """Neither sent nor kept for the next run: modules are gone then."""
    program = run_program(
        OPENS + u"""
session.install_exception_hooks()
class Late(object):
    def __del__(self):
        raise KeyError("late")
late, datacat.late, sys.late = Late(), Late(), Late()
session.log_event("last")
""",
        fresh_collector.url,
    )
    program.wait(expect=0)
    run_program(OPENS + u"session.log_event('next')\n", fresh_collector.url).wait()
    told = [held.names(fresh_collector.session(each["id"])) for each in fresh_collector.sessions()]
    assert sorted(told) == [["last"], ["next"]]
    assert "hooks.py" not in program.output


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_what_ends_a_program_on_purpose_is_left_alone(session, quiet_hooks, error):
    with session.install_exception_hooks():
        sys.excepthook(*raised(error))
    assert len(quiet_hooks) == 1 and told(session) == []


def test_what_was_hooked_before_is_called_and_restored(session, quiet_hooks):
    before = sys.excepthook
    with session.install_exception_hooks():
        triple = raised(ValueError("e"))
        sys.excepthook(*triple)
        assert quiet_hooks == [triple]
    assert sys.excepthook is before
    sys.excepthook(*raised(ValueError("later")))
    assert [data["message"] for data in told(session)] == ["e"]


def test_a_hook_that_others_put_theirs_upon_only_passes_on_after_uninstall(session, quiet_hooks):
    hooks = session.install_exception_hooks()
    ours = sys.excepthook
    theirs = sys.excepthook = lambda *triple: ours(*triple)
    hooks.uninstall()
    hooks.uninstall()
    assert sys.excepthook is theirs
    sys.excepthook(*raised(ValueError("e")))
    assert len(quiet_hooks) == 1 and told(session) == []


@pytest.mark.parametrize("kind", ["sys", "threads", "unraisable"])
def test_only_the_hooks_that_are_asked_for_are_installed(session, kind):
    def installed():
        start = vars(threading.Thread)["start"]
        return {
            "sys": sys.excepthook,
            "threads": threading.excepthook if HAS_THREAD_HOOK else start,
            "unraisable": getattr(sys, "unraisablehook", None),
        }

    before = installed()
    wanted = dict((name, name == kind) for name in before)
    with session.install_exception_hooks(**wanted):
        changed = set(name for name, hook in installed().items() if hook is not before[name])
    assert changed == (set([kind]) if before[kind] is not None else set())
    assert installed() == before


def test_a_disabled_session_installs_nothing(open_session):
    before = sys.excepthook
    session = open_session("http://127.0.0.1:9", disabled=True)
    with session.install_exception_hooks() as hooks:
        assert sys.excepthook is before
        hooks.uninstall()


def test_before_3_8_a_thread_that_fails_is_logged_and_freed(fresh_collector, run_program):
    """Not kept by a cycle: Python 2 does not free all of those."""
    program = run_program(
        OPENS + u"""
import gc, weakref
from datacat.process import hooks
hooks._thread_hook = lambda: hooks._ThreadStart
threading.excepthook = lambda hooked: None
class Failing(threading.Thread):
    def run(self):
        raise ValueError(self.name)
def run(make, **names):
    thread = make(**names)
    thread.start()
    thread.join()
    return weakref.ref(thread)
def of_a_function(**names):
    return threading.Thread(target=int, args="x", **names)
def with_its_own_run(**names):
    thread = threading.Thread(**names)
    thread.run = lambda: int("y")
    return thread
installed = session.install_exception_hooks()
gc.disable()
for make in (Failing, of_a_function, with_its_own_run):
    assert run(make, name=make.__name__)() is None
installed.uninstall()
run(Failing, name="after")
assert vars(threading.Thread)["start"].__module__ == "threading"
""",
        fresh_collector.url,
    )
    program.wait()
    data = [event["data"] for event in events_of(fresh_collector)]
    assert [each["mechanism"] for each in data] == ["threading.Thread.run"] * 3
    assert [each["thread"] for each in data] == ["Failing", "of_a_function", "with_its_own_run"]


def test_the_same_object_raised_anew_is_another_event(session):
    error = ValueError("again")
    for _ in range(2):
        try:
            raise error
        except ValueError:
            session.log_exception()
            session.log_exception(error)
    data = told(session)
    assert [each["message"] for each in data] == ["again"] * 2
    assert data[0]["exception_id"] != data[1]["exception_id"]
    assert session.stats()["seen_again"] == 2


def test_an_exception_that_logs_itself_is_told_once(session):
    """Its message is made while it is told."""

    class Talkative(Exception):
        def __str__(self):
            session.log_exception(self)
            return "talkative"

    session.log_exception(Talkative())
    assert [data["message"] for data in told(session)] == ["talkative"]


def test_hooks_of_two_sessions_tell_an_exception_in_both(session, open_session, collector):
    other = open_session(collector.url)
    before = sys.excepthook
    first, second = session.install_exception_hooks(), other.install_exception_hooks()
    sys.excepthook(*raised(ValueError("e")))
    first.uninstall()
    second.uninstall()
    sys.excepthook(*raised(ValueError("after")))
    sys.excepthook = before
    assert [data["message"] for data in told(session) + told(other)] == ["e", "e"]
