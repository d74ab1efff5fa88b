"""The fault suite: each fault is made for real, and what the client promises must hold.

`pytest tests/faults` takes the short form, `pytest tests/faults --long` the long one. A module
with BOTH_GENERATIONS = True meets both generations of servers in either form; any other test
meets both in the long form alone.
"""

from __future__ import absolute_import, division

import shutil
import tempfile
import zlib

import pytest
from tools.fault_proxy import FaultProxy
from tools.outboxes import MEMORY_DISK
from tools.trial import Trial

GENERATIONS = ["v1", "classic"]


def pytest_addoption(parser):
    parser.addoption(
        "--long",
        action="store_true",
        default=False,
        help="the fault suite's long form: hundreds of kills, an hour of flapping",
    )


def is_long(config):
    """Return whether the long form is asked for; the short one where nothing could be asked."""
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
    """A callable (short, long) that returns the one for this run's form."""
    return lambda short, long_form: long_form if is_long(request.config) else short


class FreshServer(object):
    """A shared collector as it is to a test of its own: without what it held before."""

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
def quick_folder():
    """A folder in memory, where there is one: hundreds of outboxes are laid out in it."""
    folder = tempfile.mkdtemp(dir=MEMORY_DISK)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server(generation, scaled, request):
    """A running collector of one generation or the other, left running.

    In the short form a module shares it, for it takes its time to start; in the long one, where
    sessions are large, a test has its own.
    """
    if scaled(False, True):
        return request.getfixturevalue("own_server")
    shared = "classic_collector" if generation == "classic" else "collector"
    return FreshServer(request.getfixturevalue(shared))


@pytest.fixture
def own_server(generation, make_collector):
    """A running collector of this test alone, to be stopped, killed and paused."""
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
    """An application before `proxy`."""
    made = Trial(tmp_path, server, proxy.url)
    yield made
    made.close()
