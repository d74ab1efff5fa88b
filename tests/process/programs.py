"""Programs that the tests of processes run, and what they ask a server afterwards."""

from __future__ import absolute_import, division

from tools import held

# Takes the library's own bounds away, which a busy machine would pass: what is logged is on disk
# when the call returns, an exit delivers everything, a fork waits for every lock.
UNHURRIED = u"""
import datacat, os, signal, sys, time
from datacat.outbox import disk, intake
from datacat.process import fork, shutdown
from tools.waiting import PATIENCE
disk.SLOW_SECONDS = intake.BUSY_SECONDS = intake.CROWDED_SECONDS = PATIENCE
fork.FREEZE_SECONDS = shutdown.EXIT_SECONDS = PATIENCE
"""

FLUSHES = u"assert session.flush(PATIENCE)\n"

# A run that delivers what others left, and stays until it is killed.
SUCCESSOR = (
    UNHURRIED
    + u"""
session = datacat.create_session(connect_wait=PATIENCE)
session.log_event("successor")
"""
    + FLUSHES
    + u"""
sys.stdin.readline()
"""
)

OPENS = UNHURRIED + u"""
session = datacat.create_session(connect_wait=PATIENCE)
session.log_event("first")
""" + FLUSHES

# Runs `work` in a forked child, and returns the child's exit status.
IN_CHILD = OPENS + u"""
def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        work()
        raise AssertionError("the child came out")
    return os.waitpid(child, 0)[1] >> 8
"""


def whole_sessions(collector):
    """Return all sessions of a server in full."""
    return [collector.session(listed["id"]) for listed in collector.sessions()]


def with_event(collector, name):
    """Return the sessions that hold an event of that name."""
    return [each for each in whole_sessions(collector) if name in held.names(each)]


def the_one(collector, name="first"):
    """Return the one session that holds an event of that name."""
    found = with_event(collector, name)
    assert len(found) == 1, [held.names(each) for each in whole_sessions(collector)]
    return found[0]
