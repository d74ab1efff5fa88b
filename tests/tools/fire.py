"""Random faults in the server, on the line and in the application, for tests that take long."""

from __future__ import absolute_import, division

import collections
import random
import time

from tools.faults import CutAnswer, CutBeforeLastByte, LoseAnswer, Reset, gateway_error, one_in


class Fire(object):
    """Random faults, one after the other, in the server, on the line and in the application.

    lasting, between: the least and the most seconds that a fault lasts, and between two.
    """

    LINE = ("refuse", "partition", "black_hole")
    SERVER = ("killed", "paused", "stopped")

    def __init__(self, collector, proxy, lasting, between, one_request_in):
        self.url = proxy.url
        self.sessions = collector.sessions
        self.struck = collections.Counter()
        self._chance = random.Random(36)
        self._collector = collector
        self._proxy = proxy
        self._lasting = lasting
        self._between = between
        self._one_request_in = one_request_in

    def keep_up(self, strikes, harmed=0):
        """Strike so often, and until so many requests were harmed; no fault is left then."""
        self._harm_requests()
        before = self.requests_harmed
        while strikes > 0 or self.requests_harmed < before + harmed:
            strikes -= 1
            self._pass_time(self._between)
            self._strike(self._chance.choice(self.LINE + self.SERVER))
        self._proxy.clear()

    def _harm_requests(self):
        for fault in (LoseAnswer(), CutAnswer(), Reset(), gateway_error(502, applied=True)):
            self._proxy.rule(fault, one_in(self._one_request_in, self._chance.random()))
        # After this one the session's records wait for two seconds.
        self._proxy.rule(CutBeforeLastByte(), one_in(10 * self._one_request_in, 36))

    @property
    def requests_harmed(self):
        """How many single requests were struck, rather than the line or the server."""
        return sum(count for name, count in self._proxy.struck.items() if name not in self.LINE)

    def kill(self, app):
        """Kill the application while it works."""
        app.kill()
        self.struck["application killed"] += 1

    def _pass_time(self, limits):
        time.sleep(self._chance.uniform(*limits))

    def _strike(self, fault):
        self.struck[fault] += 1
        if fault in self.LINE:
            getattr(self._proxy, fault)()
            self._pass_time(self._lasting)
            self._proxy.heal()
        elif fault == "paused":
            self._collector.pause()
            self._pass_time(self._lasting)
            self._collector.resume()
        else:
            getattr(self._collector, {"killed": "kill", "stopped": "stop"}[fault])()
            self._pass_time(self._lasting)
            self._collector.start()
