"""Fixtures for all tests: a clean environment, a folder for outboxes, real collectors.

Each fixture ends what it started, whether the test passes or not.
"""

from __future__ import absolute_import, division

import os
import shutil
import sys
import tempfile

import hypothesis
import pytest
import requests
from tools.application import Application
from tools.collector_process import CollectorProcess, Since
from tools.fault_proxy import FaultProxy
from tools.outboxes import MEMORY_DISK, disks_timed_by_the_test
from tools.waiting import PATIENCE

import datacat

# No example fails because the machine is slow.
hypothesis.settings.register_profile(
    "any machine",
    parent=hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")

collect_ignore = []
if sys.version_info < (3, 9):
    collect_ignore.append("collector")


def pytest_configure(config):
    """Leave out the fault suite, which takes minutes, unless named: `pytest tests/faults`."""
    if not any("faults" in str(argument) for argument in config.args):
        collect_ignore.append("faults")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Hide the developer's own settings."""
    for name in list(os.environ):
        if name.startswith("DATACAT_") and name not in (
            "DATACAT_COLLECTOR_PYTHON",
            "DATACAT_TEST_URL",
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def timed_disks():
    """Disks in this process that are never slow, however busy the machine is.

    On one that passes for slow, records stay in memory for a while, and files stay open.
    """
    with disks_timed_by_the_test():
        yield


@pytest.fixture
def spool(clean_environment, monkeypatch, tmp_path):
    """A folder for this test's outboxes, named by DATACAT_SPOOL_DIR."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("DATACAT_SPOOL_DIR", str(folder))
    return folder


def _shared(tmp_path_factory, classic):
    db = tmp_path_factory.mktemp("collector") / "collector.db"
    return CollectorProcess(db, classic=classic)


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    """A running v1 collector, shared by a module: create your own sessions, and do not stop it."""
    with _shared(tmp_path_factory, classic=False) as process:
        yield process


@pytest.fixture(scope="module")
def classic_collector(tmp_path_factory):
    """A running classic collector, shared by a module like `collector`."""
    with _shared(tmp_path_factory, classic=True) as process:
        yield process


@pytest.fixture(scope="module", params=["v1", "classic"])
def any_collector(request):
    """Each of the two shared collectors."""
    name = {"v1": "collector", "classic": "classic_collector"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture
def fresh_collector(collector):
    """The shared v1 collector, showing only sessions opened by this test: do not stop it."""
    return Since(collector)


@pytest.fixture
def any_fresh_collector(any_collector):
    """Each of the two shared collectors, showing only sessions opened by this test."""
    return Since(any_collector)


@pytest.fixture
def http():
    """A requests.Session that ignores the developer's proxies and .netrc."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def make_collector(tmp_path):
    """Makes collectors of the test's own, not started yet, to stop, kill and pause."""
    made = []

    def make(classic=False, api_key=None):
        process = CollectorProcess(
            tmp_path / ("collector-%d.db" % len(made)), classic=classic, api_key=api_key
        )
        made.append(process)
        return process

    yield make
    _end_all(made)


@pytest.fixture
def own_collector(make_collector):
    """A running v1 collector of the test's own."""
    return make_collector().start()


@pytest.fixture(params=["v1", "classic"])
def any_own_collector(request, make_collector):
    """A running collector of the test's own, of either generation."""
    return make_collector(classic=request.param == "classic").start()


@pytest.fixture
def open_session(spool):
    """Opens sessions in this process, in the test's own folder, and closes them.

    They wait for the server's id as long as that takes, unless the test says otherwise.
    """
    opened = []

    def open_one(url, **options):
        options.setdefault("product", "tests")
        options.setdefault("version", "1")
        options.setdefault("connect_wait", PATIENCE)
        session = datacat.create_session(url, **options)
        opened.append(session)
        return session

    yield open_one
    for session in opened:
        session.close(timeout=1)


@pytest.fixture
def run_program(spool, tmp_path):
    """Starts programs, given as text, that share a product and a folder of outboxes."""
    started = []

    def run(source, url=None, **env):
        changes = {"DATACAT_SPOOL_DIR": str(spool), "DATACAT_PRODUCT": "tests"}
        if url is not None:
            changes["DATACAT_URL"] = url
        changes.update(env)
        program = Application(source, tmp_path, env=changes)
        started.append(program)
        return program.start()

    yield run
    for program in started:
        program.__exit__()


@pytest.fixture
def before():
    """Puts fault proxies in front of collectors: before(collector)."""
    made = []

    def make(collector):
        made.append(FaultProxy(collector.port).start())
        return made[-1]

    yield make
    for proxy in made:
        proxy.stop()


def _end_all(processes):
    failures = []
    for process in processes:
        try:
            process.close()
        except Exception as failure:  # the others must be ended, too
            failures.append(failure)
    if failures:
        raise failures[0]


@pytest.fixture
def quick_folder():
    """A folder in memory if there is one, for tests that create hundreds of outboxes."""
    folder = tempfile.mkdtemp(dir=MEMORY_DISK)
    yield folder
    shutil.rmtree(folder)
