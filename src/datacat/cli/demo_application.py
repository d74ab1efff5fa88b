"""The demo's application: a process that logs facts about this machine.

Belongs here: `python -m datacat.cli.demo_application`, which the demo starts and kills, and which
writes a line to a file for each log call that has returned.  Does not: counting what arrives.
"""

from __future__ import absolute_import, division

import argparse
import itertools
import os
import sys
import time

import psutil

from datacat import create_session
from datacat.cli import demo_tally

PRODUCT = "datacat-demo"

# An application would wait a minute before it calls this a hang.
HANG_TIMEOUT = 1.0
HANG_CHECK_INTERVAL = 0.2
HANG_SECONDS = 2.0

_PROCESS_FACTS = ["pid", "name", "status", "memory_info", "create_time"]
_PROCESSES_IN_A_TURN = 8
_PAUSE_BETWEEN_TURNS = 0.02


class Application(object):
    """Logs observations to a session and writes down each call that has returned."""

    def __init__(self, name, session, accepted):
        self._name = name
        self._session = session
        self._accepted = accepted
        self._numbers = itertools.count(1)
        self._log = {
            demo_tally.EVENT: self._log_event,
            demo_tally.METRIC: self._log_metric,
            demo_tally.STATE: self._update_state,
        }

    def log(self, kind, name, values):
        """Log one observation and, when the call has returned, write that down."""
        number = next(self._numbers)
        self._log[kind](number, name, values)
        # Unbuffered: a kill loses what is in a buffer.
        os.write(self._accepted, demo_tally.accepted_line(number))

    def _log_event(self, number, name, values):
        self._session.log_event(name, dict(values, **demo_tally.mark(self._name, number)))

    def _log_metric(self, number, name, value):
        self._session.log_metric(name, value, tags=[demo_tally.tag(self._name, number)])

    def _update_state(self, number, name, values):
        self._session.update_state(dict({name: values}, **demo_tally.mark(self._name, number)))


def observations():
    """Yield (kind, name, values) of this machine, without end."""
    processes = itertools.chain.from_iterable(
        psutil.process_iter(_PROCESS_FACTS) for _ in itertools.count()
    )
    for turn in itertools.count(1):
        for process in itertools.islice(processes, _PROCESSES_IN_A_TURN):
            yield demo_tally.EVENT, "process_seen", _described(process.info)
        for name, value in _measures():
            yield demo_tally.METRIC, name, value
        yield demo_tally.STATE, "machine", {
            "processors": psutil.cpu_count(),
            "turn": turn,
            "started": psutil.boot_time(),
        }
        time.sleep(_PAUSE_BETWEEN_TURNS)


def _described(facts):
    memory = facts["memory_info"]
    return {
        "pid": facts["pid"],
        "program": facts["name"],
        "status": facts["status"],
        "started": facts["create_time"],
        "resident_bytes": memory.rss if memory else None,
    }


def _measures():
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(os.getcwd())
    yield "memory_used_bytes", memory.total - memory.available
    yield "memory_used_percent", memory.percent
    yield "disk_free_bytes", disk.free
    yield "disk_used_percent", disk.percent
    yield "cpu_percent", psutil.cpu_percent()
    yield "own_resident_bytes", psutil.Process().memory_info().rss


def main(argv=None):
    """Log `--records` observations, wait for the end of standard input, end the session."""
    arguments = _parser().parse_args(argv)
    accepted = os.open(arguments.accepted, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    session = create_session(
        arguments.url, product=PRODUCT, version="demo", spool_dir=arguments.spool, trust_env=False
    )
    application = Application(arguments.name, session, accepted)
    session.start_heartbeat_monitor(timeout=HANG_TIMEOUT, check_interval=HANG_CHECK_INTERVAL)
    for done, observation in enumerate(itertools.islice(observations(), arguments.records), 1):
        application.log(*observation)
        session.heartbeat()
        if done == arguments.hang_after:
            # A real hang: the thread that calls `heartbeat` is stuck.
            time.sleep(HANG_SECONDS)
    session.stop_heartbeat_monitor()
    sys.stdin.read()
    session.end()
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="datacat.cli.demo_application")
    parser.add_argument("--url", required=True)
    parser.add_argument("--spool", required=True, help="the folder of the outboxes")
    parser.add_argument("--accepted", required=True, help="the file to write accepted calls to")
    parser.add_argument("--name", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--hang-after", type=int, default=0, help="records before the hang")
    return parser


if __name__ == "__main__":
    sys.exit(main())
