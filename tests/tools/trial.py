"""An application, a fault proxy and a collector, and the promises that must hold.

What was accepted is read from the application's file, what arrived from the server.  The client's
counters are used only for what it dropped or sent in doubt, which nobody else knows.
"""

from __future__ import absolute_import, division

import io
import json
import os
import re

from datacat._compat import monotonic
from tools.application import Application
from tools.call_times import HEALTHY_DISK, check_calls
from tools.farewells import HANG, check_exit, check_farewell
from tools.invariants import OWN_EVENTS, check_invariants, compare
from tools.report import LOSSES
from tools.waiting import PATIENCE, wait_until


class Trial(object):
    """Runs of one application with one spool folder and one accepted file.

    server: has `sessions()` and `session(id)`, read without the client. url: what the application
    talks to. counted: the losses that each finished run counted, adopted sessions included.
    """

    def __init__(self, folder, server, url):
        self.server = server
        self.url = url
        self.counted = []
        self.application = None
        self._folder = str(folder)
        self._runs = 0
        self._enough = self._leave = None

    @property
    def accepted(self):
        """The accepted file of all runs."""
        return os.path.join(self._folder, "accepted.jsonl")

    def start(
        self,
        records,
        sessions=1,
        endless=False,
        seconds_between=0.0,
        farewell="end",
        patience=5.0,
        env=None,
        source="trial_application.py",
        **options
    ):
        """Start a run; `options` are create_session's. Return the Application.

        records: how many it logs, at least, if it is `endless`: until `enough()`.
        """
        self._runs += 1
        self._enough = os.path.join(self._folder, "enough-%d" % self._runs)
        self._leave = os.path.join(self._folder, "leave-%d" % self._runs)
        settings = dict(
            records=records,
            sessions=sessions,
            seconds_between=seconds_between,
            enough=self._enough if endless else None,
            options=options,
            leave=self._leave,
            farewell=farewell,
            patience=patience,
        )
        self.application = Application(
            source,
            self._folder,
            [self.url, "run%d" % self._runs, json.dumps(settings)],
            env=dict(env or {}, DATACAT_SPOOL_DIR=os.path.join(self._folder, "spool")),
            accepted=self.accepted,
        )
        return self.application.start()

    def enough(self):
        """Let an endless run stop logging."""
        io.open(self._enough, "w").close()

    def close(self):
        """End the run, if there is one."""
        if self.application is not None:
            self.application.__exit__()

    def said(self, topic, timeout=PATIENCE):
        """Wait until the application prints a topic; return what it prints first."""
        line = re.compile(r"^%s (.*)$" % topic, re.MULTILINE)
        return json.loads(self.application.wait_for_line(line, timeout).group(1))

    def await_drained(self, within=PATIENCE):
        """Wait until all is logged, and then until all is delivered.

        within: seconds for either; more, where the fault lasts as long as the records.
        """
        self.said("LOGGED", within)
        self.said("DRAINED", within)

    def await_arrived(self, within=PATIENCE):
        """Wait until the server has all that was accepted, by earlier runs too."""
        wait_until(lambda: not self._lost(), within)

    def _lost(self):
        return self.compare().deviations["lost"]

    def compare(self):
        """Return the Report on what was accepted and what arrived, without checking it."""
        return compare([self.accepted], self.sessions())

    def warnings(self):
        """Return the library's warnings in this run."""
        return re.findall(r"^WARNED datacat (.*)$", self.application.output, re.MULTILINE)

    def check_opened_within(self, seconds):
        """Check that no session waited for longer than this to open, once all is logged."""
        self.said("LOGGED")
        took = self._all_said("OPENED")
        assert took and max(took) <= seconds + HANG, took

    def _all_said(self, topic):
        return [
            json.loads(text)
            for text in re.findall(r"^%s (.*)$" % topic, self.application.output, re.MULTILINE)
        ]

    def leave(self, patience=5.0):
        """Tell the application to end, check that it does not hang; return each stats().

        patience: as given to start().
        """
        io.open(self._leave, "w").close()
        self.application.wait()
        farewells = self._all_said("FAREWELL")
        check_farewell(patience, max(farewells))
        check_exit(monotonic() - self.said("LEAVING"))
        self.counted.append(self.said("LOSSES"))
        return self.said("STATS")

    def sessions(self):
        """Return all sessions of the server, whole."""
        return [self.server.session(each["id"]) for each in self.server.sessions()]

    def check(self, allow=None, longest_wait=HEALTHY_DISK, own_events=OWN_EVENTS):
        """Check what must hold after any fault; return the Report."""
        overtaken = sum(each["overtaken"] for each in self.counted)
        allow = dict({"out_of_order": overtaken}, **(allow or {}))
        report = check_invariants([self.accepted], self.sessions(), allow, own_events)
        check_calls([self.accepted], longest_wait)
        return report

    def losses(self):
        """Return the sum of each kind of loss in all runs, adopted sessions included."""
        return dict((name, sum(each[name] for each in self.counted)) for name in LOSSES)

    def check_no_losses(self):
        """Check that the client dropped nothing and sent nothing in doubt."""
        assert self.counted and not any(self.losses().values()), self.losses()
