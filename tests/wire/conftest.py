"""What the tests of wire calls share: transports, a clock to set, a clean environment."""

from __future__ import absolute_import, division

import pytest
import six

from datacat import settings
from datacat.wire import calls, transport

# Seconds. Bounds that end by the clock are so long that no machine is too slow for the real waits.
TICK = 4.0


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """Hide the developer's proxies, CA bundle and .netrc."""
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
    """A monotonic clock that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def tick(self):
        """Let TICK seconds pass."""
        self.now += TICK


@pytest.fixture
def clock(monkeypatch):
    """The clock of deadlines; real waits still last as long as the clock says is left."""
    made = Clock()
    monkeypatch.setattr(calls, "monotonic", made)
    return made
