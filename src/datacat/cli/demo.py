"""`datacat demo`: a real outage, kill and hang, and a count of what still arrives.

Belongs here: what happens when.  Does not: the processes (see `demo_processes` and
`demo_application`), the count (see `demo_tally`).
"""

from __future__ import absolute_import, division, print_function

import os
import shutil
import signal
import sys
import tempfile
import time

from datacat import DatacatClient
from datacat._compat import monotonic
from datacat.cli import demo_tally
from datacat.cli.demo_processes import Application, Collector, DemoFailed

_NEEDED_PYTHON = (3, 9)
_FEWEST_RECORDS = 90
_POLL = 0.5
_STALL_PATIENCE = 30.0
_KILLED_LATER = "application"
_SUCCESSOR = "successor"


def add_arguments(parser):
    """Add the arguments of `datacat demo` to an argparse parser."""
    parser.add_argument(
        "--records",
        type=int,
        default=3000,
        metavar="N",
        help="about how many records to log (default: %%(default)s; %d at least)"
        % _FEWEST_RECORDS,
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep the collector's database and print how to look at it",
    )


def run(arguments):
    """Run `datacat demo` with parsed arguments; return 0 if every promise held, else 1."""
    obstacle = _obstacle()
    if obstacle:
        return _refuse(obstacle)
    signal.signal(signal.SIGTERM, _end)
    folder = tempfile.mkdtemp(prefix="datacat-demo-")
    try:
        return Demo(folder, max(arguments.records, _FEWEST_RECORDS), arguments.keep).run()
    except DemoFailed as failure:
        return _refuse(str(failure))
    finally:
        _remove(folder, arguments.keep)


def _obstacle():
    """Return why the demo cannot run here, or None."""
    if sys.version_info < _NEEDED_PYTHON:
        return (
            "the demo runs a collector, which needs Python 3.9 or newer; this is %d.%d"
            % sys.version_info[:2]
        )
    try:
        import psutil  # noqa: F401
        import tqdm  # noqa: F401
    except ImportError as missing:
        return (
            "the demo's requirements are not installed (%s): "
            'run pip install "datacat-client[collector]"' % missing
        )
    return None


def _refuse(reason):
    sys.stderr.write("datacat demo: %s\n" % reason)
    return 1


def _end(_number, _frame):
    raise SystemExit(1)


def _remove(folder, keep_database):
    if not keep_database:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif ".db" not in name:
            os.remove(path)


class Demo(object):
    """One run: a third of the records online, a third offline, a third by the successor."""

    def __init__(self, folder, records, keep):
        self._folder = folder
        self._third = records // 3
        self._keep = keep
        self._started = monotonic()
        self._processes = []

    def run(self):
        """Run the demo and print its table; return the exit code."""
        try:
            return self._run()
        finally:
            for process in self._processes:
                process.close()

    def _run(self):
        collector = self._start_collector()
        self._say("a collector is running; see %s/api/data/sessions" % collector.url)
        application = self._start(
            Application(
                self._folder, _KILLED_LATER, collector.url, 100 * self._third, self._third // 2
            )
        )
        self._say("an application logs facts about this machine, and hangs once")
        application.wait_until_accepted(self._third)
        application.wait_for(
            lambda: demo_tally.seen(_sessions(collector.url)).recoveries,
            _STALL_PATIENCE,
            "the server had its hang and its recovery",
        )
        collector.stop()
        self._say("the collector is stopped; the application keeps logging")
        application.wait_until_accepted(2 * self._third)
        application.kill()
        self._say("the application is killed (SIGKILL); a successor logs offline")
        successor = self._start(Application(self._folder, _SUCCESSOR, collector.url, self._third))
        successor.wait_until_accepted(self._third)
        collector = self._start_collector(collector.port)
        self._say("the collector is back; the successor delivers both backlogs")
        accepted = {_KILLED_LATER: application.accepted(), _SUCCESSOR: successor.accepted()}
        self._drain(collector, accepted)
        successor.finish()
        self._say("the successor has ended its session")
        return self._conclude(collector, accepted)

    def _start_collector(self, port=0):
        collector = self._start(Collector(self._folder, port))
        collector.wait_until_listening()
        return collector

    def _start(self, process):
        self._processes.append(process)
        return process

    def _drain(self, collector, accepted):
        """Show the backlog shrink until all has arrived, or nothing has for a while."""
        from tqdm import tqdm

        total = _total(accepted, _sessions(collector.url))
        with tqdm(
            total=total.accepted, initial=total.delivered, unit=" records", desc="delivered"
        ) as bar:
            until = monotonic() + _STALL_PATIENCE
            while monotonic() < until:
                sessions = _sessions(collector.url)
                delivered = _total(accepted, sessions).delivered
                if delivered > bar.n:
                    until = monotonic() + _STALL_PATIENCE
                bar.update(delivered - bar.n)
                if delivered == total.accepted and demo_tally.seen(sessions).crashes:
                    return
                time.sleep(_POLL)

    def _conclude(self, collector, accepted):
        sessions = _sessions(collector.url)
        collector.stop()
        counts = _counts(accepted, sessions)
        total, saw = demo_tally.together(counts.values()), demo_tally.seen(sessions)
        print()
        for line in demo_tally.table(sorted(counts.items()) + [("together", total)], saw):
            print(line)
        print()
        self._say_where_to_look(collector, sessions)
        if demo_tally.held(total, saw):
            print("Every promise held.")
            return 0
        print("A promise did not hold: see the table.")
        return 1

    def _say_where_to_look(self, collector, sessions):
        if self._keep:
            print(
                'To look at the sessions, run: datacat serve --port %d --db "%s"'
                % (collector.port, collector.database)
            )
        else:
            print("The sessions are deleted (--keep keeps them); they were at")
        for session in sessions:
            print("  %s/api/sessions/%s" % (collector.url, session["id"]))

    def _say(self, words):
        print("%5.1f s  %s" % (monotonic() - self._started, words))
        sys.stdout.flush()


def _sessions(url):
    """Return all sessions of the server, whatever the user's environment says."""
    with DatacatClient(url, trust_env=False, disabled=False) as client:
        return client.get_all_sessions()


def _counts(accepted, sessions):
    """Return {application: Count}."""
    delivered = demo_tally.delivered_numbers(sessions)
    return dict(
        (
            name,
            demo_tally.count(
                accepted[name], delivered.get(name, {}), killed=name == _KILLED_LATER
            ),
        )
        for name in accepted
    )


def _total(accepted, sessions):
    return demo_tally.together(_counts(accepted, sessions).values())
