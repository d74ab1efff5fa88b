"""The collector as a process that can be stopped, killed, paused and started again."""

from __future__ import absolute_import, division

import os
import re
import sys

import requests

from tools.ports import held_port
from tools.process import ChildProcess, environment
from tools.waiting import PATIENCE

LISTENING = re.compile(
    r"datacat collector \((v1|classic)\) listening on http://127\.0\.0\.1:(\d+)"
)


def collector_python():
    """Return the interpreter that runs collectors: DATACAT_COLLECTOR_PYTHON or this one.

    Raises AssertionError if neither can (the collector needs Python 3.9).
    """
    chosen = os.environ.get("DATACAT_COLLECTOR_PYTHON")
    if chosen:
        return chosen
    if sys.version_info >= (3, 9):
        return sys.executable
    raise AssertionError(
        "The collector needs Python 3.9 and these tests run on %d.%d: set DATACAT_COLLECTOR_PYTHON"
        " to an interpreter that has datacat's extra `collector` installed." % sys.version_info[:2]
    )


class Since(object):
    """A running collector that others use, too, showing only sessions opened since this moment."""

    def __init__(self, collector):
        self.url = collector.url
        self.port = collector.port
        self.classic = collector.classic
        self.session = collector.session
        self._all = collector.sessions
        self._before = {each["id"] for each in collector.sessions()}

    def sessions(self):
        """Return the server's list of those sessions."""
        return [each for each in self._all() if each["id"] not in self._before]


class CollectorProcess(object):
    """A collector on 127.0.0.1 with its sqlite file `db`, started and ended any number of times.

    Its port stays its own until close(), and refuses connections while it does not run.
    """

    def __init__(self, db, classic=False, api_key=None):
        self.db = str(db)
        self.classic = classic
        self.api_key = api_key
        self._holder = held_port()
        self.port = self._holder.getsockname()[1]
        self._python = collector_python()
        self._process = None

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    @property
    def output(self):
        """What the current or the last process has written (text)."""
        return self._process.output if self._process else u""

    def start(self):
        """Start it, wait until it listens, and return itself."""
        assert not self.running, "the collector on port %d is already running" % self.port
        if self._process is not None:
            self._process.close()
        self._process = ChildProcess(self._command(), environment())
        try:
            match = self._process.wait_for_line(LISTENING, PATIENCE)
        except AssertionError:
            self._process.close()
            raise
        assert match.group(1) == ("classic" if self.classic else "v1")
        assert int(match.group(2)) == self.port
        return self

    def _command(self):
        command = [
            self._python,
            "-m",
            "datacat",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--db",
            self.db,
        ]
        if self.classic:
            command.append("--classic")
        if self.api_key:
            command.extend(["--api-key", self.api_key])
        return command

    @property
    def running(self):
        return self._process is not None and self._process.returncode is None

    def stop(self):
        """Ask it to end (SIGTERM) and wait until it has; it may be started again."""
        if self._process is not None:
            self._process.terminate()
            self._process.close()

    def close(self):
        """Stop it and give up its port."""
        try:
            self.stop()
        finally:
            self._holder.close()

    def kill(self):
        """Kill it (SIGKILL); it may be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.close()

    def pause(self):
        """Suspend it (SIGSTOP); the kernel still accepts connections for it."""
        self._process.pause()

    def resume(self):
        self._process.resume()

    def session(self, session_id):
        """Return one session as the server has it, read without the client."""
        return self._get("/api/sessions/" + session_id)

    def sessions(self):
        """Return the server's list of all sessions, read without the client."""
        return self._get("/api/grafana/sessions" if self.classic else "/api/data/sessions")

    def _get(self, path):
        with requests.Session() as http:
            http.trust_env = False
            if self.api_key:
                http.headers["Authorization"] = "Bearer " + self.api_key
            answer = http.get(self.url + path, timeout=PATIENCE)
        assert answer.status_code == 200, "GET %s: %d %s" % (path, answer.status_code, answer.text)
        return answer.json()

    def __enter__(self):
        return self if self.running else self.start()

    def __exit__(self, *exc_info):
        self.close()
