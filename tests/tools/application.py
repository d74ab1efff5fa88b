"""An application as a child process, killed at chosen moments.

Its program gets the file for accepted records as its first argument (see recorder.py);
invariants.py compares that file with what the servers have.
"""

from __future__ import absolute_import, division

import io
import os
import random
import sys
import time

from datacat._compat import monotonic
from tools import farewells
from tools.process import HERE, ChildProcess, environment
from tools.waiting import PATIENCE

APPLICATIONS = os.path.join(HERE, "applications")

GLANCE = 0.002  # seconds between looks at the accepted file while waiting for a moment to kill


class Application(object):
    """A program run by this Python (or `python`), with our sources and tests/ on its path.

    source: the name of a file in tests/tools/applications, or the program's text. folder: where
    its files go. arguments: the command-line arguments after the accepted file. env: changes to
    the environment, from which the tests' own DATACAT_* are removed. prefix: what to put before
    the command (strace and its options). accepted: the accepted file, if several runs share one.
    """

    def __init__(
        self, source, folder, arguments=(), env=None, python=None, prefix=(), accepted=None
    ):
        self.accepted = str(accepted or os.path.join(str(folder), "accepted.jsonl"))
        self._folder = str(folder)
        self._command = (
            list(prefix)
            + [python or sys.executable, self._program(source), self.accepted]
            + [str(each) for each in arguments]
        )
        self._env = environment(env)
        self._process = None
        self._counted = 0
        self._read_to = 0

    def _program(self, source):
        if u"\n" not in source:
            return os.path.join(APPLICATIONS, source)
        path = os.path.join(self._folder, "application-%08x.py" % random.getrandbits(32))
        with io.open(path, "w", encoding="utf-8") as stream:
            stream.write(u"# -*- coding: utf-8 -*-\n" + source)
        return path

    def start(self):
        """Start it and return itself."""
        # Lines of earlier runs do not count; the last of them may be torn.
        self._read_to = os.path.getsize(self.accepted) if os.path.exists(self.accepted) else 0
        self._counted = 0
        self._process = ChildProcess(self._command, self._env, cwd=self._folder)
        return self

    @property
    def pid(self):
        return self._process.pid

    @property
    def output(self):
        """What it has written to stdout and stderr (text)."""
        return self._process.output

    @property
    def returncode(self):
        return self._process.returncode

    def count_accepted(self):
        """Return how many calls have returned in this run, by the accepted file."""
        if os.path.exists(self.accepted):
            with io.open(self.accepted, "rb") as stream:
                stream.seek(self._read_to)
                news = stream.read()
            whole = news.rfind(b"\n") + 1
            self._counted += news[:whole].count(b'"returned": ')
            self._read_to += whole
        return self._counted

    def wait(self, timeout=PATIENCE, expect=0):
        """Wait for its end and return its exit status, which must be `expect` (None: any).

        Fails if an `end()`, a `close()` or the exit hung.
        """
        status = self._process.wait(timeout)
        assert (
            expect is None or status == expect
        ), "the application ended with status %s instead of %s:\n%s" % (
            status,
            expect,
            self.output,
        )
        farewells.check(self.output, self._process.ended_at)
        return status

    def wait_for_accepted(self, count, timeout=PATIENCE):
        """Wait until `count` calls have returned."""
        end = monotonic() + timeout
        while self.count_accepted() < count:
            assert (
                self._process.returncode is None
            ), "the application ended (status %s) after %d of %d calls:\n%s" % (
                self.returncode,
                self.count_accepted(),
                count,
                self.output,
            )
            assert monotonic() < end, "after %s s only %d of %d calls have returned:\n%s" % (
                timeout,
                self.count_accepted(),
                count,
                self.output,
            )
            time.sleep(GLANCE)

    def wait_for_line(self, pattern, timeout):
        """Return the match of the first line of output that contains `pattern` (compiled)."""
        return self._process.wait_for_line(pattern, timeout)

    def kill(self):
        """Send SIGKILL and wait for its end."""
        return self._process.kill()

    def kill_after_accepted(self, count, timeout=PATIENCE):
        """Kill it as soon as at least `count` calls have returned."""
        self.wait_for_accepted(count, timeout)
        return self.kill()

    def kill_after(self, seconds):
        """Kill it after a delay; fails if it has ended by itself before."""
        time.sleep(seconds)
        assert (
            self._process.returncode is None
        ), "the application ended by itself (status %s) before it was to be killed:\n%s" % (
            self.returncode,
            self.output,
        )
        return self.kill()

    def signal(self, number):
        self._process.signal(number)

    def proceed(self):
        """Write the line to its stdin that it waits for."""
        self._process.proceed()

    def pause(self):
        """Suspend it (SIGSTOP)."""
        self._process.pause()

    def resume(self):
        self._process.resume()

    def __enter__(self):
        return self if self._process is not None else self.start()

    def __exit__(self, *exc_info):
        self._process.close()
