"""The fault suite: each fault is real, and the client's promises must hold.

`pytest tests/faults` runs the short form, `pytest tests/faults --long` the long one.  A module
with BOTH_GENERATIONS = True meets both generations of servers in either form; any other test
meets both in the long form only.
"""

from __future__ import absolute_import, division

import zlib

import pytest
from tools.fault_proxy import FaultProxy
from tools.trial import Trial

GENERATIONS = ["v1", "classic"]


def pytest_addoption(parser):
    parser.addoption(
        "--long",
        action="store_true",
        default=False,
        help="run the long form of the fault suite: hundreds of kills, an hour of flapping",
    )


def is_long(config):
    """Return whether to run the long form; False where the option does not exist."""
    return config.getoption("--long", default=False)


def pytest_generate_tests(metafunc):
    chosen = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "generation" not in metafunc.fixturenames or "generation" in chosen:
        return
    both = getattr(metafunc.module, "BOTH_GENERATIONS", False) or is_long(metafunc.config)
    one = zlib.crc32(metafunc.function.__name__.encode("ascii")) % 2
    metafunc.parametrize("generation", GENERATIONS if both else GENERATIONS[one : one + 1])


@pytest.fixture(scope="session")
def scaled(request):
    """A callable (short, long) that returns its argument for this run's form."""
    return lambda short, long_form: long_form if is_long(request.config) else short


class FreshServer(object):
    """A shared collector, without the sessions of earlier tests."""

    def __init__(self, collector):
        self.port = collector.port
        self.url = collector.url
        self.classic = collector.classic
        self.session = collector.session
        self._collector = collector
        self._before = frozenset(each["id"] for each in collector.sessions())

    def sessions(self):
        return [each for each in self._collector.sessions() if each["id"] not in self._before]


@pytest.fixture
def server(generation, scaled, request):
    """A running collector of either generation, which the test must not stop.

    In the short form a module shares it, because it starts slowly; in the long form, where
    sessions are large, each test has its own.
    """
    if scaled(False, True):
        return request.getfixturevalue("own_server")
    shared = "classic_collector" if generation == "classic" else "collector"
    return FreshServer(request.getfixturevalue(shared))


@pytest.fixture
def own_server(generation, make_collector):
    """A running collector of the test's own, to stop, kill and pause."""
    return make_collector(classic=generation == "classic").start()


@pytest.fixture
def proxy(server):
    """A fault proxy before `server`."""
    with FaultProxy(server.port) as started:
        yield started


@pytest.fixture
def v1_proxy(own_collector):
    """A fault proxy before a v1 collector."""
    with FaultProxy(own_collector.port) as started:
        yield started


@pytest.fixture
def trial(server, proxy, tmp_path):
    """An application that talks to `proxy`."""
    made = Trial(tmp_path, server, proxy.url)
    yield made
    made.close()
