"""A real server for tests: the collector as a child process.

Belongs here: starting and ending it, and why it cannot run.  Does not: the child's program (see
`serving`).
"""

from __future__ import absolute_import, division

import io
import os
import re
import subprocess
import sys

import datacat
from datacat.collector import NEEDED_PYTHON

_LISTENING = re.compile(r"listening on (http://\S+)")
_EXTRA = "datacat-client[collector]"
_PROGRAM = (
    "import sys; sys.path.extend(sys.argv.pop(1).splitlines()); "
    "from datacat.testing import serving; sys.exit(serving.main())"
)


class CannotRun(Exception):
    """The collector cannot run here; the message says what to install."""


class Server(object):
    """A server as one test sees it.

    :ivar url: its URL (str).
    """

    def __init__(self, url):
        self.url = url
        self._before = set(each["id"] for each in self._all())

    def sessions(self):
        """Return the sessions that were created since the test began (list of dict).

        :raises DatacatError: if the server cannot be asked.
        """
        return [each for each in self._all() if each["id"] not in self._before]

    def _all(self):
        with datacat.DatacatClient(self.url, trust_env=False) as client:
            return client.get_all_sessions()


class Collector(object):
    """A running collector (v1) on a free port of 127.0.0.1; it ends with this process.

    :param folder: where its database goes (str).
    :ivar url: its URL (str).
    :raises CannotRun: if the collector cannot run here.
    :raises RuntimeError: if it should, and does not.
    """

    def __init__(self, folder):
        log = os.path.join(folder, "collector.log")
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                _command(os.path.join(folder, "collector.db")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Nothing there can be imported by mistake.
                cwd=folder,
                close_fds=True,
            )
        # Its only line, or none if it ends.
        line = self._process.stdout.readline().decode("utf-8", "replace")
        listening = _LISTENING.search(line)
        if listening is None:
            self.stop()
            with io.open(log, encoding="utf-8", errors="replace") as words:
                raise _failure(words.read().strip())
        self.url = str(listening.group(1))

    def stop(self):
        """End it, and wait until it has."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def _command(database):
    chosen = os.environ.get("DATACAT_COLLECTOR_PYTHON")
    if chosen:
        python, path = chosen, ""
    elif sys.version_info >= NEEDED_PYTHON:
        # Last: it may be found there alone, but nothing else may be replaced.
        python, path = sys.executable, os.path.dirname(os.path.dirname(datacat.__file__))
    else:
        raise CannotRun(
            "datacat_server needs Python %d.%d or newer and this is %d.%d: name one in "
            "DATACAT_COLLECTOR_PYTHON that has %s installed"
            % (NEEDED_PYTHON + sys.version_info[:2] + (_EXTRA,))
        )
    options = ["--host", "127.0.0.1", "--port", "0", "--db", database]
    return [python, "-c", _PROGRAM, path] + options


def _failure(words):
    if _EXTRA in words:
        return CannotRun("datacat_server cannot run: " + words)
    return RuntimeError("datacat's collector did not start; it printed:\n" + words)
