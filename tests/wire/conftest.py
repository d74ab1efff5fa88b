"""What the tests of wire calls share: transports, a clock to set, and nobody's own environment."""

from __future__ import absolute_import, division

import pytest
import six

from datacat import settings
from datacat.wire import sockets, transport

TICK = 0.02  # seconds


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """No proxy, CA bundle or netrc of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def connect():
    """Makes transports: connect(server or URL, retries=2, **settings)."""
    made = []

    def make(server, retries=2, **options):
        url = server if isinstance(server, six.string_types) else server.url
        made.append(transport.Transport(settings.resolve(url, **options), retries))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Clock(object):
    """Monotonic seconds that pass only when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def tick(self):
        """Let TICK seconds pass."""
        self.now += TICK


@pytest.fixture
def clock(monkeypatch):
    """The clock by which calls keep their deadlines; real waits are as long as what is left."""
    made = Clock()
    monkeypatch.setattr(sockets, "monotonic", made)
    return made
