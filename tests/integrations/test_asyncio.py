"""asyncio: what a loop finds unhandled is logged, and a loop that is blocked is told as hung."""

from __future__ import absolute_import, division

import functools
import gc
import sys
import threading
import weakref

import pytest
from tools import held
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat.testing.session import RecordingSession

asyncio = pytest.importorskip("asyncio")
watch = pytest.importorskip("datacat.integrations.asyncio").watch

# No older Python reads this syntax.
COROUTINES = {"asyncio": asyncio}
exec(
    u"""
async def fail(error):
    raise error

async def stay():
    await asyncio.get_event_loop().create_future()

async def watch_here(watch, session):
    return watch(session)
""",
    COROUTINES,
)
fail, stay, watch_here = [COROUTINES[name] for name in ("fail", "stay", "watch_here")]


@pytest.fixture
def loop():
    made = asyncio.new_event_loop()
    made.set_exception_handler(lambda loop, context: None)
    yield made
    made.close()


def turn(loop, seconds=0):
    loop.call_later(seconds, loop.stop)
    loop.run_forever()


def forget_failed_task(loop, error):
    task = loop.create_task(fail(error))
    turn(loop)
    del task
    gc.collect()
    turn(loop)


def hangs(session):
    """Return the names of what was told as hung, in order."""
    events = session.get_details(PATIENCE)["events"] or ()
    return [
        event["data"].get("monitor")
        for event in events
        if event["name"] == "application_appears_hung"
    ]


SERVICE = u"""
import asyncio, datacat, sys, time
from datacat.integrations.asyncio import watch
from datacat.process import shutdown
from tools.waiting import PATIENCE
shutdown.EXIT_SECONDS = PATIENCE
session = datacat.create_session(connect_wait=PATIENCE)

def recorded():
    stats = session.stats()
    return stats["sent"] + stats["waiting"]

def blocks_the_loop():
    before = recorded()
    while recorded() == before:
        time.sleep(0.02)

async def recovered():
    before = recorded()
    while recorded() == before:
        await asyncio.sleep(0.02)

async def serve(reader, writer):
    writer.close()
    raise ValueError("in a connection")

async def fails():
    raise KeyError("in a task")

async def main():
    loop = asyncio.get_event_loop()
    factory = loop.get_task_factory()
    watch(session, timeout=0.5)
    assert loop.get_task_factory() is factory
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    loop.create_task(fails())
    loop.call_soon(divmod, 1, 0)
    await asyncio.sleep(0.05)
    writer.close()
    server.close()
    blocks_the_loop()
    await recovered()
    session.log_event("done")

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
loop.close()
session.end(PATIENCE)
"""


def test_a_service_needs_one_line(fresh_collector, run_program):
    """With asyncio's debug mode, in which it watches its callers, and all warnings on."""
    program = run_program(
        SERVICE, fresh_collector.url, PYTHONASYNCIODEBUG="1", PYTHONWARNINGS="always"
    )
    program.wait()
    (listed,) = fresh_collector.sessions()
    there = fresh_collector.session(listed["id"])
    told = dict(
        (each["exception_type"], each) for each in there["events"] if "exception_type" in each
    )
    assert "KeyError" in told and "ZeroDivisionError" in told
    task = told["KeyError"]["data"]
    assert task["mechanism"] == "asyncio" and task["handled"] is False
    assert task["context"] == "Task exception was never retrieved" and "fails" in task["future"]
    assert "divmod" in told["ZeroDivisionError"]["data"]["handle"]
    hang = held.event(there, "application_appears_hung")["data"]
    assert hang["monitor"] == "asyncio" and hang["timeout"] == 0.5
    assert hang["stacks"][0]["thread"] == "MainThread"
    assert any("blocks_the_loop" in line for line in hang["stacks"][0]["stack"])
    assert held.names(there)[-2:] == ["application_recovered", "done"]
    for message in ("KeyError", "ZeroDivisionError"):
        assert message in program.output, "asyncio itself still tells it"
    assert "Warning" not in program.output and "datacat" not in program.output


def test_streams_that_fail_are_told(loop):
    """Their exceptions come with a transport or a protocol."""
    session = RecordingSession()
    watch(session, loop)

    class Unshown(object):
        def __repr__(self):
            raise ValueError("no repr")

    error = OSError("gone")
    loop.call_exception_handler(
        {"message": "Fatal read error", "exception": error, "transport": Unshown()}
    )
    (told,) = session.exceptions
    assert told["data"]["context"] == "Fatal read error" and "Unshown" in told["data"]["transport"]


def test_what_goes_wrong_without_an_exception_is_an_event(loop):
    session = RecordingSession()
    watch(session, loop)
    task = loop.create_task(stay())
    turn(loop)
    loop.call_exception_handler({"message": "Task was destroyed", "task": task})
    task.cancel()
    turn(loop)
    event = session.assert_logged("asyncio_error", handled=False, mechanism="asyncio")
    assert event["message"] == "Task was destroyed" and "stay" in event["data"]["task"]
    assert session.exceptions == []


def test_an_exception_is_told_once_whoever_sees_it(loop):
    session = RecordingSession()
    watch(session, loop)
    error = ValueError("v")
    session.log_exception(error)
    forget_failed_task(loop, error)
    assert len(session.exceptions) == 1 and session.stats()["seen_again"] == 1


def test_the_handler_that_was_there_is_called_and_restored(loop):
    session, seen = RecordingSession(), []

    def before(loop, context):
        seen.append(context)

    loop.set_exception_handler(before)
    with watch(session, loop):
        loop.call_exception_handler({"message": "first", "exception": ValueError("v")})
        assert len(seen) == 1
    assert loop.get_exception_handler() is before
    loop.call_exception_handler({"message": "second", "exception": ValueError("w")})
    assert len(seen) == 2 and len(session.exceptions) == 1


def test_a_handler_that_was_set_later_stays(loop):
    session = RecordingSession()
    watched = watch(session, loop)
    ours = loop.get_exception_handler()
    theirs = functools.partial(ours)
    loop.set_exception_handler(theirs)
    watched.stop()
    watched.stop()
    assert loop.get_exception_handler() is theirs
    loop.call_exception_handler({"message": "m", "exception": ValueError("v")})
    assert session.exceptions == []


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_what_ends_a_program_on_purpose_is_left_alone(loop, error):
    session = RecordingSession()
    watch(session, loop)
    loop.call_exception_handler({"message": "m", "exception": error})
    assert session.exceptions == [] and session.events == []


def test_a_loop_between_two_runs_does_not_hang(collector, open_session, loop):
    session = open_session(collector.url)
    watch(session, loop, timeout=0.2)
    turn(loop, 0.05)
    other = session.add_heartbeat_monitor("hangs meanwhile", timeout=0.6)
    other.heartbeat()
    wait_until(lambda: session.stats()["sent"] > 1)
    assert hangs(session) == ["hangs meanwhile"]


def test_of_several_loops_each_is_watched(collector, open_session):
    """Here in threads of their own, beside a loop that goes on in this thread."""
    session = open_session(collector.url)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    blocked, goes_on = threading.Event(), loops[1]
    thread = threading.Thread(target=loops[0].run_forever, name="service")
    for each in loops:
        watch(session, each, timeout=0.4)
    thread.start()
    loops[0].call_soon_threadsafe(blocked.wait, PATIENCE)
    sent = session.stats()["sent"]
    wait_until(lambda: turn(goes_on, 0.02) or session.stats()["sent"] > sent)
    blocked.set()
    loops[0].call_soon_threadsafe(loops[0].stop)
    thread.join(PATIENCE)
    hang = session.get_details(PATIENCE)["events"][0]
    assert hang["name"] == "application_appears_hung"
    assert hang["data"]["stacks"][0]["thread"] == "service"
    for each in loops:
        each.close()


def test_a_loop_is_not_kept(collector, open_session):
    """Neither one that was closed nor one that was only forgotten."""
    session = open_session(collector.url)
    references = []
    for is_closed in (True, False):
        loop = asyncio.new_event_loop()
        watch(session, loop, timeout=0.2)
        turn(loop)
        references.append(weakref.ref(loop))
        if is_closed:
            loop.close()
    del loop
    wait_until(lambda: gc.collect() >= 0 and [each() for each in references] == [None, None])


def test_the_running_loop_is_watched_if_none_is_given(loop):
    session = RecordingSession()
    with loop.run_until_complete(watch_here(watch, session)):
        loop.call_exception_handler({"message": "m", "exception": ValueError("v")})
    assert len(session.exceptions) == 1
    if sys.version_info >= (3, 7):
        with pytest.raises(RuntimeError):
            watch(session)


def test_mistakes_are_refused(loop):
    handler = loop.get_exception_handler()
    for timeout in (0, "5", float("nan")):
        with pytest.raises(datacat.InvalidArgument):
            watch(RecordingSession(), loop, timeout=timeout)
    assert loop.get_exception_handler() is handler
    loop.close()
    with pytest.raises(datacat.InvalidArgument):
        watch(RecordingSession(), loop)


def test_without_a_timeout_a_loop_gives_no_heartbeats(loop):
    session = RecordingSession()
    session.add_heartbeat_monitor = None
    watch(session, loop, timeout=None)
    turn(loop)
    loop.call_exception_handler({"message": "m", "exception": ValueError("v")})
    assert len(session.exceptions) == 1


def test_a_disabled_session_leaves_everything_as_it_is(loop, open_session):
    with watch(open_session("http://127.0.0.1:9", disabled=True), loop):
        turn(loop, 0.01)
        loop.call_exception_handler({"message": "m", "exception": ValueError("v")})
