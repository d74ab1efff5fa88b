"""Network (26): answers that drip, never end or explode: bounded time and memory, nothing lost."""

from __future__ import absolute_import, division

import gzip
import io
import itertools
import os

import pytest
from tools.faults import Fault, is_write
from tools.memory import forget_peak, peak_memory

MEBIBYTE = 1024 * 1024
MOST_MEMORY = 10 * MEBIBYTE
DEADLINE = 1.5  # seconds; enough for an honest answer of a slow machine
APART = 10  # requests
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
RECORDS = 60


class Say(Fault):
    """The server gets the request; the client gets the test's bytes, at some pace."""

    def __init__(self, name, pieces, interval=0.0):
        self.name = name
        self._pieces = pieces
        self._interval = interval

    def play(self, exchange):
        exchange.forward()
        exchange.strike(self.name)
        for piece in self._pieces():
            exchange.write_to_client(piece)
            exchange.sleep(self._interval)
        return False


def dripping(head, drop=b"x"):
    return lambda: itertools.chain([head], itertools.repeat(drop))


def bomb():
    """64 MiB of spaces as 64 KiB of gzip, which the client did not ask for."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        for _ in range(64):
            stream.write(b" " * MEBIBYTE)
    body = packed.getvalue()
    length = b"Content-Length: " + str(len(body)).encode("ascii")
    return [HEAD, b"Content-Encoding: gzip\r\n", length, b"\r\n\r\n", body]


ANSWERS = {
    "dripping head": (dripping(HEAD + b"X-Padding: "), 0.05),
    "dripping status": (dripping(b"HTTP/1.1 ", b" "), 0.05),
    "dripping body": (dripping(HEAD + b"\r\n"), 0.05),
    "continues": (dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), 0.05),
    "endless body": (dripping(HEAD + b"\r\n", b"x" * 65536), 0.0),
    "endless chunks": (
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
        0.0,
    ),
    "endless chunk size": (
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
        0.0,
    ),
    "large head": (
        lambda: [HEAD]
        + [b"X-%d: %s\r\n" % (number, b"y" * 50000) for number in range(200)]
        + [b"\r\n"],
        0.0,
    ),
    "long header": (dripping(HEAD + b"X-Padding: ", b"y" * 65536), 0.0),
    "gzip bomb": (bomb, 0.0),
}


def pytest_generate_tests(metafunc):
    """In the long form each answer is for a write and for a read, in the short one for either."""
    if "answers" in metafunc.fixturenames:
        is_long = metafunc.config.getoption("--long", default=False)
        names = sorted(ANSWERS)
        # Apart, because memory is not always freed before the next answer.
        parts = [names[:8], names[8:]]
        metafunc.parametrize(
            "answers",
            parts + [part[::-1] for part in parts if is_long],
            ids=lambda part: "%s to %s" % (part[0], part[-1]),
        )


class WriteAndLook(object):
    """The first write after some requests, and its first read-back."""

    def __init__(self, after):
        self._after = after
        self._session = None

    def is_write(self, seen):
        if not is_write(seen) or seen.number <= self._after:
            return False
        self._session = seen.path.rsplit("/", 1)[0]
        return True

    def is_look(self, seen):
        return seen.method == "GET" and seen.path == self._session


def strike_writes_and_their_read_backs(proxy, answers):
    """Give the first answer to a write, the second to that write's read-back, and so on."""
    for nth, (one, other) in enumerate(zip(answers[::2], answers[1::2]), 1):
        struck = WriteAndLook(after=APART * nth)
        proxy.rule(Say(one, *ANSWERS[one]), struck.is_write, times=1)
        proxy.rule(Say(other, *ANSWERS[other]), struck.is_look, times=1)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")
def test_a_hostile_answer_takes_bounded_time_and_memory_and_loses_nothing(trial, proxy, answers):
    """Trust: each answer has a deadline and a size limit; its record is read back and sent on.

    Most of these answers never end: if one were not given up, nothing would be delivered after it.
    """
    strike_writes_and_their_read_backs(proxy, answers)
    application = trial.start(
        RECORDS, sessions=2, seconds_between=0.02, timeout=DEADLINE, deadline=DEADLINE
    )
    application.wait_for_accepted(5)
    before = forget_peak(application.pid)
    trial.await_drained(within=600)
    grown = peak_memory(application.pid) - before
    trial.leave()
    assert dict((name, proxy.struck[name]) for name in answers) == dict.fromkeys(answers, 1)
    assert grown < MOST_MEMORY, "%.1f MiB" % (grown / MEBIBYTE)
    trial.check()
    trial.check_no_losses()
