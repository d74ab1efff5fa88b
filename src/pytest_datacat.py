"""The pytest plugin of datacat: fixtures for tests of applications.

Belongs here: fixtures, thin.  Does not: imports of datacat before a fixture is used, because every
test run loads this module, whether it needs datacat or not.
"""

from __future__ import absolute_import, division

import pytest


@pytest.fixture
def datacat_session():
    """A session without network, threads and files, and all that was logged in it."""
    from datacat.testing.session import RecordingSession

    return RecordingSession()


@pytest.fixture(scope="session")
def _datacat_collector(tmp_path_factory):
    from datacat.testing import server

    try:
        process = server.Collector(str(tmp_path_factory.mktemp("datacat-collector")))
    except server.CannotRun as reason:
        pytest.skip(str(reason))
    yield process
    process.stop()


@pytest.fixture
def datacat_server(_datacat_collector, tmp_path_factory, monkeypatch):
    """A real server on a free port, its `.url`, and its `.sessions()` since the test began.

    During the test it is the default of `create_session`, whose outboxes are in a folder of the
    test's own.
    """
    from datacat.testing.server import Server

    monkeypatch.setenv("DATACAT_URL", _datacat_collector.url)
    monkeypatch.setenv("DATACAT_SPOOL_DIR", str(tmp_path_factory.mktemp("datacat-outboxes")))
    for name in ("DATACAT_API_KEY", "DATACAT_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    return Server(_datacat_collector.url)


@pytest.fixture
def flaky_network():
    """Makes bad networks: `flaky_network(server, loses=0, cuts=0, delay=0.0, dark=False)`."""
    from datacat.testing.network import FlakyNetwork

    made = []

    def make(server, **faults):
        made.append(FlakyNetwork(server, **faults))
        return made[-1]

    yield make
    for network in made:
        network.close()
