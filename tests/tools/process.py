"""A child process and what tests do with it, whatever its program is."""

from __future__ import absolute_import, division

import collections
import io
import os
import signal
import subprocess
import threading

from datacat._compat import monotonic
from tools.waiting import PATIENCE

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
SOURCES = os.path.join(os.path.dirname(TESTS), "src")

KEPT_LINES = 2000
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows: TerminateProcess does the same


def environment(changes=None):
    """Return an environment for a child: our sources first on its path, no DATACAT_*."""
    child = dict(
        (name, value) for name, value in os.environ.items() if not name.startswith("DATACAT_")
    )
    inherited = child.get("PYTHONPATH")
    child["PYTHONPATH"] = os.pathsep.join([SOURCES, TESTS] + ([inherited] if inherited else []))
    child["PYTHONUNBUFFERED"] = "1"
    child["PYTHONIOENCODING"] = "utf-8"
    child.update(changes or {})
    return child


class ChildProcess(object):
    """A started process; its output (stdout and stderr together) is read as it comes."""

    def __init__(self, command, env, cwd=None):
        self._process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            close_fds=True,
        )
        self.pid = self._process.pid
        self._lines = collections.deque(maxlen=KEPT_LINES)
        self._news = threading.Condition()
        self._ended = False
        self.ended_at = None
        self._paused = False
        self._reader = threading.Thread(target=self._read, name="output of %d" % self.pid)
        self._reader.daemon = True
        self._reader.start()
        self._waiter = threading.Thread(target=self._await_end, name="end of %d" % self.pid)
        self._waiter.daemon = True
        self._waiter.start()

    def _read(self):
        with io.TextIOWrapper(
            io.open(os.dup(self._process.stdout.fileno()), "rb"),
            encoding="utf-8",
            errors="replace",
        ) as stream:
            for line in iter(stream.readline, u""):
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()

    def _await_end(self):
        self._process.wait()
        self.ended_at = monotonic()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def output(self):
        """The last 2,000 lines that the child has written (text)."""
        with self._news:
            return u"".join(self._lines)

    @property
    def returncode(self):
        """The exit status, negative for a signal; None while the child runs."""
        return self._process.returncode if self._ended else None

    def wait_for_line(self, pattern, timeout):
        """Return the match of the first line that contains `pattern` (compiled).

        Raises AssertionError with the output if the child ends or `timeout` seconds pass first.
        """
        end = monotonic() + timeout
        with self._news:
            while True:
                for line in self._lines:
                    match = pattern.search(line)
                    if match:
                        return match
                left = end - monotonic()
                if left <= 0 or (self._ended and not self._reader.is_alive()):
                    break
                # The reader may get the last lines after the child's end.
                self._news.wait(min(left, 0.1) if self._ended else left)
        raise AssertionError(
            "process %d wrote no line like %r within %s s (exit status %s):\n%s"
            % (self.pid, pattern.pattern, timeout, self.returncode, self.output)
        )

    def wait(self, timeout):
        """Return the exit status; raise AssertionError if `timeout` seconds pass first."""
        end = monotonic() + timeout
        with self._news:
            while not self._ended and monotonic() < end:
                self._news.wait(max(0.0, end - monotonic()))
        if not self._ended:
            raise AssertionError(
                "process %d did not end within %s s:\n%s" % (self.pid, timeout, self.output)
            )
        # What it wrote last may not have been read yet.  A grandchild may keep the pipe open.
        self._reader.join(timeout)
        return self._process.returncode

    def signal(self, number):
        """Send a signal, unless the child has ended."""
        if not self._ended:
            try:
                self._process.send_signal(number)
            except OSError:
                self._waiter.join(PATIENCE)

    def proceed(self):
        """Write the line to the child's stdin that it waits for."""
        self._process.stdin.write(b"proceed\n")
        self._process.stdin.flush()

    def pause(self):
        """Suspend the child (SIGSTOP)."""
        self._paused = True
        self.signal(signal.SIGSTOP)

    def resume(self):
        """Resume a paused child (SIGCONT)."""
        self._paused = False
        self.signal(signal.SIGCONT)

    def kill(self):
        """Kill the child (SIGKILL) and wait for its end."""
        self.signal(SIGKILL)
        return self.wait(PATIENCE)

    def terminate(self, patience=PATIENCE):
        """Ask the child to end (SIGTERM); kill it after `patience` seconds."""
        if self._paused:
            self.resume()
        self.signal(signal.SIGTERM)
        try:
            return self.wait(patience)
        except AssertionError:
            return self.kill()

    def close(self):
        """Kill the child if it still runs, and close its pipes."""
        if not self._ended:
            self.kill()
        self._reader.join(1.0)
        self._process.stdin.close()
        self._process.stdout.close()
