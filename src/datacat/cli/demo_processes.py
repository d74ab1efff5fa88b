"""The demo's processes: a collector and applications.

Belongs here: starting, watching and ending a process.  Does not: when to do it (see `demo`).
"""

from __future__ import absolute_import, division

import io
import os
import re
import subprocess
import sys
import tempfile
import time

from datacat._compat import monotonic
from datacat.cli import demo_tally

_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_POLL = 0.05
_START_PATIENCE = 30.0
_LOG_PATIENCE = 60.0
_EXIT_PATIENCE = 15.0


class DemoFailed(Exception):
    """A process of the demo failed; the message says which, and what it printed."""


class Process(object):
    """One child process whose output goes to a file in the demo's folder."""

    def __init__(self, name, arguments, folder):
        self._name = name
        descriptor, self._output = tempfile.mkstemp(".log", name + "-", folder)
        with os.fdopen(descriptor, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m"] + arguments,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )

    @property
    def output(self):
        with io.open(self._output, encoding="utf-8", errors="replace") as output:
            return output.read()

    def wait_for(self, condition, seconds, what):
        """Wait until `condition()` is true; return its value.

        :param seconds: how long to wait.
        :param what: what is waited for, for the error.
        :raises DemoFailed: if the time is up, or the process has ended.
        """
        until = monotonic() + seconds
        while monotonic() < until:
            value = condition()
            if value:
                return value
            if self._process.poll() is not None:
                raise self._failed("ended before " + what)
            time.sleep(_POLL)
        raise self._failed("took over %d s until %s" % (seconds, what))

    def kill(self):
        """End it at once: SIGKILL, on Windows TerminateProcess."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Ask it to end; kill it if it does not."""
        self._process.terminate()
        if not self._ended():
            self.kill()

    def finish(self):
        """Close its standard input, which makes an application end; wait until it has."""
        self._process.stdin.close()
        if not self._ended():
            raise self._failed("did not end within %d s" % _EXIT_PATIENCE)
        if self._process.returncode:
            raise self._failed("ended with code %d" % self._process.returncode)

    def close(self):
        """Kill it if it still runs, and release its resources."""
        if self._process.poll() is None:
            self.kill()
        self._process.stdin.close()

    def _ended(self):
        until = monotonic() + _EXIT_PATIENCE
        while self._process.poll() is None and monotonic() < until:
            time.sleep(_POLL)
        return self._process.poll() is not None

    def _failed(self, what):
        return DemoFailed("the %s %s; it printed:\n%s" % (self._name, what, self.output))


class Collector(Process):
    """`datacat serve` on 127.0.0.1, with its database in the demo's folder.

    :ivar port: its port; if 0 was asked for, known after `wait_until_listening`.
    """

    def __init__(self, folder, port=0):
        self.database = os.path.join(folder, "collector.db")
        self.port = port
        super(Collector, self).__init__(
            "collector", ["datacat", "serve", "--port", str(port), "--db", self.database], folder
        )

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def wait_until_listening(self):
        """Wait until it accepts connections."""
        listening = self.wait_for(
            lambda: _LISTENING.search(self.output), _START_PATIENCE, "it listened"
        )
        self.port = int(listening.group(1))


class Application(Process):
    """A `demo_application` with a name of its own; all share one folder of outboxes."""

    def __init__(self, folder, name, url, records, hang_after=0):
        self._accepted = os.path.join(folder, name + ".accepted")
        super(Application, self).__init__(
            name,
            [
                "datacat.cli.demo_application",
                "--url",
                url,
                "--name",
                name,
                "--spool",
                os.path.join(folder, "outboxes"),
                "--accepted",
                self._accepted,
                "--records",
                str(records),
                "--hang-after",
                str(hang_after),
            ],
            folder,
        )

    def accepted(self):
        """Return the numbers of the records whose log calls have returned (a set)."""
        try:
            with open(self._accepted, "rb") as lines:
                return demo_tally.accepted_numbers(lines.read())
        except (IOError, OSError):
            return set()

    def wait_until_accepted(self, records):
        """Wait until this many log calls have returned."""
        self.wait_for(
            lambda: len(self.accepted()) >= records,
            _LOG_PATIENCE,
            "%d of its calls had returned" % records,
        )


def _environment():
    """Return the environment without the user's settings for datacat."""
    return dict(
        (name, value) for name, value in os.environ.items() if not name.startswith("DATACAT_")
    )
