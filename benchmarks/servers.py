"""Datacat servers, and delay lines to them, as processes of their own.

Belongs here: starting and ending them, telling a line what to do.  Does not: what they do (see
`datacat serve` and `delay_line`).

On a Python that cannot run them, DATACAT_COLLECTOR_PYTHON names one that can, as for the tests.
"""

from __future__ import absolute_import, division

import json
import os
import re
import subprocess
import sys

from six.moves.urllib.parse import urlsplit

from . import subjects
from .sink import Serving

_LINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delay_line.py")
_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")
# What a line holds of each connection: a common size of TCP's windows.
BUFFER = 256 * 1024


def _python():
    return os.environ.get("DATACAT_COLLECTOR_PYTHON") or sys.executable


class Existing(object):
    """A server that already runs; a context manager like `Collector`.

    :param url: where.
    """

    def __init__(self, url):
        self.url = url

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Collector(object):
    """`datacat serve` with a database of its own; a context manager.

    :param generation: "v1" or "classic".
    :ivar url: where it listens.
    """

    def __init__(self, generation):
        self._options = ["--classic"] if generation == "classic" else []
        self._folder = subjects.folder()
        self._process = None
        self.url = None

    def __enter__(self):
        database = os.path.join(self._folder.__enter__(), "collector.db")
        self._process = subprocess.Popen(
            [_python(), "-m", "datacat", "serve", "--port", "0", "--db", database] + self._options,
            stdout=subprocess.PIPE,
            close_fds=True,
        )
        match = _LISTENING.search(self._process.stdout.readline().decode("ascii"))
        if match is None:
            self.__exit__()
            raise RuntimeError("datacat serve did not start: see above")
        self.url = match.group(1)
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self._folder.__exit__(None, None, None)


class Line(Serving):
    """A delay line to a server; a context manager.

    :param url: the server's, http only.
    :param rtt: the seconds of a round trip.
    :param bits: bits a second each way, 0 for any number.
    :param buffer: how many bytes of a connection it holds each way before it stops reading.
    :ivar url: the server's, over the line.
    """

    def __init__(self, url, rtt, bits=0, buffer=BUFFER):
        parts = urlsplit(url)
        if parts.scheme != "http":
            raise ValueError("the line relays http only, because certificates name hosts: " + url)
        values = [parts.hostname, parts.port or 80, rtt / 2, bits, buffer]
        super(Line, self).__init__([_python(), _LINE] + [str(value) for value in values])
        self.url = "http://127.0.0.1:%d%s" % (self.port, parts.path)

    def cut(self):
        """Reset all connections; what is under way is lost."""
        self._tell("cut")

    def go_dark(self, seconds):
        """Deliver nothing for so long, then everything."""
        self._tell("dark %s" % seconds)

    def lose_answer(self):
        """Lose the next answer, with its connection."""
        self._tell("lose")

    def delivered(self):
        """Return the bytes delivered so far, {"up", "down"}."""
        return self._tell("count")

    def _tell(self, command):
        self._process.stdin.write((command + "\n").encode("ascii"))
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline().decode("ascii"))
