"""Timers: blocks and functions of every kind are timed, and stay what they are."""

from __future__ import absolute_import, division

import contextlib
import functools
import inspect
import textwrap

import pytest
import six

import datacat
from datacat import timers
from datacat.testing.session import RecordingSession

ASYNCHRONOUS = pytest.mark.skipif(six.PY2, reason="Python 2 has no coroutines")


@pytest.fixture
def session():
    return RecordingSession()


@pytest.fixture
def clock(monkeypatch):
    """The stopwatch: a list with one number, in seconds."""
    now = [100.0]
    monkeypatch.setattr(timers, "stopwatch", lambda: now[0])
    return now


def compiled(source, **names):
    """Return what a program of Python 3 defines, which Python 2 could not compile."""
    exec(compile(textwrap.dedent(source), "<test>", "exec"), names)
    return names


def finished(coroutine):
    """Run a coroutine that waits for nothing; return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def durations(session):
    return [(each["name"], each["value"]) for each in session.metrics]


# Blocks


def test_a_block_is_timed(session, clock):
    with session.timer("t", tags=["a"]) as timer:
        clock[0] += 1.5
    assert timer.count == 0
    assert session.metrics == [
        {"name": "t", "type": "timer", "value": 1.5, "unit": "seconds", "tags": ["a"]}
    ]


@pytest.mark.parametrize(
    "unit, value",
    [
        ("s", 0.25),
        (u"milliseconds", 250),
        ("ms", 250),
        ("microseconds", 250000),
        ("us", 250000),
        ("nanoseconds", 250000000),
        ("ns", 250000000),
    ],
)
def test_the_duration_is_in_the_unit(session, clock, unit, value):
    with session.timer("t", unit=unit):
        clock[0] += 0.25
    (record,) = session.metrics
    assert (record["value"], record["unit"]) == (value, unit)


def test_a_block_may_set_or_add_to_the_count(session):
    with session.timer("t") as timer:
        timer.count += 1
        timer.count += 1
    with session.timer("t", count=7) as timer:
        assert timer.count == 7
    with session.timer("t", count=7) as timer:
        timer.count = 0
    assert [each.get("count") for each in session.metrics] == [2, 7, 0]


def test_an_exception_that_leaves_the_block_passes_on_and_is_timed(session, clock):
    with pytest.raises(KeyError):
        with session.timer("t"):
            clock[0] += 2
            raise KeyError("k")
    assert durations(session) == [("t", 2)]


def test_a_timer_may_be_used_again(session, clock):
    timer = session.timer("t")
    for seconds in (1, 2):
        with timer:
            clock[0] += seconds
    assert durations(session) == [("t", 1), ("t", 2)]


def test_mistakes_are_told_before_the_block(session):
    for given in (("",), ("t", -1), ("t", True), ("t", None, "a:b"), ("t", None, None, "weeks")):
        with pytest.raises(datacat.InvalidArgument):
            session.timer(*given)
    with pytest.raises(datacat.InvalidArgument):
        session.timer("t" * (1 << 20))
    with pytest.raises(datacat.InvalidArgument) as told:
        with session.timer("t") as timer:
            timer.count = "many"
    assert "count must be" in str(told.value)
    assert [each.get("count") for each in session.metrics] == [None]


def test_tags_that_change_in_the_block_are_recorded_as_they_were(session):
    tags = ["a"]
    with session.timer("t", tags=tags):
        tags.append(3)
    assert session.metrics[0]["tags"] == ["a"]


def test_where_nothing_is_recorded_a_timer_accepts_everything():
    session = datacat.create_session(disabled=True)
    with session.timer("", unit="weeks") as timer:
        timer.count += 1
        timer.count = "many"

    @session.timer("t")
    def work():
        return 7

    assert work() == 7


# Functions


def test_each_call_of_a_function_is_timed(session, clock):
    @session.timer("t", count=3)
    def work(seconds, more=0):
        """Docstring."""
        clock[0] += seconds + more
        return "done"

    assert work(1, more=2) == "done" == work(5)
    assert (work.__name__, work.__doc__) == ("work", "Docstring.")
    assert durations(session) == [("t", 3), ("t", 5)]
    assert [each["count"] for each in session.metrics] == [3, 3]


def test_calls_inside_calls_are_timed_each_on_its_own(session, clock):
    @session.timer("t")
    def down(levels):
        clock[0] += 1
        if levels:
            down(levels - 1)

    down(2)
    assert durations(session) == [("t", 1), ("t", 2), ("t", 3)]


def test_methods_and_partial_functions_are_timed(session, clock):
    class Worker(object):
        @session.timer("method")
        def work(self, seconds):
            clock[0] += seconds
            return self

    worker = Worker()
    assert worker.work(1) is worker
    partial = session.timer("partial")(functools.partial(worker.work, 2))
    partial()
    assert durations(session) == [("method", 1), ("method", 2), ("partial", 2)]


def test_a_function_that_raises_is_timed(session, clock):
    @session.timer("t")
    def work():
        clock[0] += 1
        raise KeyError("k")

    with pytest.raises(KeyError):
        work()
    assert durations(session) == [("t", 1)]


# Generators


@pytest.fixture
def generate(session, clock):
    """A generator function that is timed; it yields what it is sent, or what is thrown."""

    @session.timer("g")
    def generate():
        got = None
        while got != "stop":
            clock[0] += 1
            try:
                got = yield got
            except ValueError as error:
                got = str(error)

    return generate


def test_a_generator_is_timed_from_its_first_step_to_its_last(session, clock, generate):
    assert inspect.isgeneratorfunction(generate)
    steps = generate()
    assert inspect.isgenerator(steps)
    clock[0] += 100
    assert durations(session) == []
    assert next(steps) is None and steps.send("a") == "a"
    assert durations(session) == []
    with pytest.raises(StopIteration):
        steps.send("stop")
    assert durations(session) == [("g", 2)]


def test_a_generator_gets_what_is_thrown_and_is_closed(session, generate):
    steps = generate()
    next(steps)
    assert steps.throw(ValueError("thrown")) == "thrown"
    with pytest.raises(KeyError):
        steps.throw(KeyError("k"))
    steps = generate()
    next(steps)
    steps.close()
    assert durations(session) == [("g", 2), ("g", 1)]


def test_a_timed_generator_may_be_a_context_manager(session, clock):
    @contextlib.contextmanager
    @session.timer("g")
    def context():
        clock[0] += 1
        try:
            yield "inside"
        except KeyError:
            clock[0] += 10

    with context() as value:
        assert value == "inside"
        clock[0] += 1
    with context():
        raise KeyError("k")
    assert durations(session) == [("g", 2), ("g", 11)]


@ASYNCHRONOUS
def test_a_generator_returns_its_value(session):
    found = compiled(
        """
        @session.timer("g")
        def inner():
            yield 1
            return 7

        def outer():
            value = yield from inner()
            yield value
        """,
        session=session,
    )
    assert list(found["outer"]()) == [1, 7]


# Coroutines


@ASYNCHRONOUS
def test_a_coroutine_is_timed_and_stays_one(session, clock):
    work = compiled(
        """
        @session.timer("c")
        async def work(seconds):
            clock[0] += seconds
            if seconds > 5:
                raise KeyError("k")
            return seconds
        """,
        session=session,
        clock=clock,
    )["work"]
    assert inspect.iscoroutinefunction(work) and work.__name__ == "work"
    waiting = work(2)
    clock[0] += 100
    assert finished(waiting) == 2
    with pytest.raises(KeyError):
        finished(work(6))
    assert durations(session) == [("c", 2), ("c", 6)]


@ASYNCHRONOUS
def test_coroutines_that_run_at_the_same_time_are_timed_each_on_its_own(session):
    import asyncio

    found = compiled(
        """
        import asyncio

        @session.timer("c", count=1)
        async def work(gate, is_first):
            if is_first:
                await gate.wait()
            else:
                gate.set()
            return is_first

        async def main():
            gate = asyncio.Event()
            return await asyncio.gather(work(gate, True), work(gate, False))
        """,
        session=session,
    )
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        assert loop.run_until_complete(found["main"]()) == [True, False]
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    second, first = [value for _, value in durations(session)]
    assert first >= second >= 0


@ASYNCHRONOUS
def test_an_asynchronous_generator_is_timed_and_stays_one(session, clock):
    found = compiled(
        """
        @session.timer("a")
        async def generate():
            got = None
            try:
                while got != "stop":
                    clock[0] += 1
                    try:
                        got = yield got
                    except ValueError as error:
                        got = str(error)
            finally:
                closed.append(True)

        async def exhaust():
            steps = generate()
            seen = [await steps.__anext__(), await steps.asend("a")]
            seen.append(await steps.athrow(ValueError("thrown")))
            try:
                await steps.asend("stop")
            except StopAsyncIteration:
                return seen

        async def close():
            steps = generate()
            await steps.__anext__()
            await steps.aclose()

        async def fail():
            steps = generate()
            await steps.__anext__()
            await steps.athrow(KeyError("k"))
        """,
        session=session,
        clock=clock,
        closed=[],
    )
    assert inspect.isasyncgenfunction(found["generate"])
    assert finished(found["exhaust"]()) == [None, "a", "thrown"]
    finished(found["close"]())
    with pytest.raises(KeyError):
        finished(found["fail"]())
    assert durations(session) == [("a", 3), ("a", 1), ("a", 1)]
    assert len(found["closed"]) == 3


def test_the_stopwatch_goes_on_while_time_is_frozen(session):
    import freezegun

    with freezegun.freeze_time("2020-02-02"):
        with session.timer("t"):
            sum(range(10000))
    assert session.metrics[0]["value"] > 0
