"""The servers that the conformance suite tests: both of ours as processes, and any other.

DATACAT_TEST_URL names another server, of either generation and without an API key; the suite
leaves sessions on it.
"""

from __future__ import absolute_import, division

import os

import pytest
from asking import Server

GIVEN = [os.environ["DATACAT_TEST_URL"]] if os.environ.get("DATACAT_TEST_URL") else []


def pytest_generate_tests(metafunc):
    """Test every server, or those of the generation that a test names as a fixture."""
    if "server" in metafunc.fixturenames:
        named = [name for name in ("v1", "classic") if name in metafunc.fixturenames]
        metafunc.parametrize("server", (named or ["v1", "classic"]) + GIVEN, indirect=True)


@pytest.fixture
def server(request):
    """Each server in turn."""
    fixture = {"v1": "collector", "classic": "classic_collector"}.get(request.param)
    url = request.getfixturevalue(fixture).url if fixture else request.param
    with Server(url) as asked:
        yield asked


@pytest.fixture
def v1(server):
    """A v1 server; skips a given server of the other generation."""
    return _of_generation(server, "v1")


@pytest.fixture
def classic(server):
    """A classic server; skips a given server of the other generation."""
    return _of_generation(server, "classic")


def _of_generation(server, generation):
    if server.generation != generation and server.url in [url.rstrip("/") for url in GIVEN]:
        pytest.skip("DATACAT_TEST_URL is of the other generation")
    assert server.generation == generation
    return server


@pytest.fixture
def session_id(server):
    """A new session on the server."""
    return server.create()


@pytest.fixture
def ask():
    """Makes Servers for collectors that a test starts itself."""
    made = []

    def make(collector, api_key=None):
        made.append(Server(collector.url, api_key))
        return made[-1]

    yield make
    for asked in made:
        asked.close()
