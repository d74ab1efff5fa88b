"""Random schedules: processes, forks, kills and faults as they come, and nothing is lost."""

from __future__ import absolute_import, division

import os
import random
import signal
import time

import pytest
from tools.call_times import SICK_DISK, check_calls
from tools.fault_proxy import FaultProxy
from tools.fire import Fire
from tools.host import (
    OWN,
    application,
    await_word,
    check_order_by_writer,
    deliver_what_is_left,
    tell,
)
from tools.waiting import wait_until

from datacat._compat import monotonic

BOTH_GENERATIONS = True
SEED = os.environ.get("DATACAT_TEST_SEED") or "%x" % random.getrandbits(32)
PROCESSES = 3
# What the labels of sessions begin with into which forked children log as well.
SHARED = "shared by"
ANY_NUMBER = 10**9

# Logs, forks, opens and ends sessions at random until it is told to be calm.  Its children log to
# one of the sessions that it shares with them, and end in different ways.
PROCESS = u"""
import random
seed, calm = sys.argv[3:5]
chance = random.Random(seed)
can_fork = hasattr(os, "register_at_fork") and chance.random() < 0.7
if can_fork:
    # A thread inside sqlite may have to wait for a processor; it does not hang.
    from datacat.process import fork as hooks
    hooks.FREEZE_SECONDS = 60.0
opened = 0

def open_one():
    global opened
    opened += 1
    session = open_session(connect_wait=chance.choice([0, 0.3]), timeout=3, deadline=9)
    kind = "alone in" if not can_fork else chance.choice(["shared by", "beside"])
    label = "%s %d, %d" % (kind, os.getpid(), opened)
    return recorder_of(session, "o%d" % opened, label=label)

def is_shared(recorder):
    return recorder.label.startswith("shared")

def log_some(recorder, has_states):
    for number in range(chance.randint(1, 30)):
        kind = chance.random()
        if kind < 0.5:
            recorder.log_event("step", {"number": number, "text": "x" * chance.choice([1, 2000])})
        elif kind < 0.7:
            recorder.log_metric("load", number, tags=["t"])
        elif kind < 0.8:
            recorder.log_exception(ValueError("expected"))
        elif has_states:
            recorder.update_state({"number": number, "deep": {str(number % 3): number}})
        time.sleep(chance.choice([0, 0, 0.01]))

def be_a_child(parents):
    chance.seed(seed + str(os.getpid()))
    recorder = recorder_of(parents.session, "c", label=parents.label)
    for _ in range(chance.randint(1, 4)):
        log_some(recorder, False)
        time.sleep(chance.uniform(0, 0.5))
    way = chance.choice(["exits", "hard", "killed"])
    if way == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "hard":
        os._exit(0)
    sys.exit(0)

def fork_one(recorders):
    shared = list(filter(is_shared, recorders))
    if shared and len(children) < 3:
        pid = os.fork()
        if not pid:
            be_a_child(chance.choice(shared))
        children.append(pid)

def reap(options):
    for pid in list(children):
        if os.waitpid(pid, options)[0]:
            children.remove(pid)

recorders, children = [open_one()], []
while not os.path.exists(calm):
    act = chance.random()
    if act < 0.6:
        one = chance.choice(recorders)
        log_some(one, not is_shared(one))
    elif act < 0.7 and len(recorders) < 3:
        recorders.append(open_one())
    elif act < 0.75 and len(recorders) > 1:
        recorders.pop(chance.randrange(len(recorders))).session.end(chance.choice([0, 0.2]))
    elif act < 0.9:
        fork_one(recorders)
    else:
        time.sleep(chance.uniform(0, 0.5))
    if children:
        reap(os.WNOHANG)
if children:
    reap(0)
for each in recorders:
    each.session.end(0.1)
say("calm")
"""


class Crowd(object):
    """Processes that come and go by chance."""

    def __init__(self, chance, folder, url, spool):
        self.accepted = str(folder / "accepted.jsonl")
        self.ends = {"killed": 0, "exited": 0, "stopped": 0}
        self._chance = chance
        self._folder = folder
        self._url = url
        self._env = {"DATACAT_SPOOL_DIR": str(spool)}
        self._started = 0
        self._apps = [self._start() for _ in range(PROCESSES)]

    def _start(self):
        self._started += 1
        calm = "calm-%d" % self._started
        seed = "%x" % self._chance.getrandbits(32)
        app = application(
            PROCESS, self._folder, self._url, (seed, calm), env=self._env, accepted=self.accepted
        )
        return calm, app.start()

    def strike(self):
        """End or stop one of them by chance, and start the next one."""
        end = self._chance.choice(sorted(self.ends))
        self.ends[end] += 1
        place = self._chance.randrange(PROCESSES)
        calm, app = self._apps[place]
        if end == "stopped":
            os.kill(app.pid, signal.SIGSTOP)
            time.sleep(self._chance.uniform(0.1, 3))
            os.kill(app.pid, signal.SIGCONT)
            return
        if end == "killed":
            app.kill()
        else:
            self._leave(calm, app)
        self._apps[place] = self._start()

    def _leave(self, calm, app):
        tell(self._folder, calm)
        await_word(app, "calm", 300)
        app.wait(60)

    def leave(self):
        """Let all of them end."""
        for calm, app in self._apps:
            self._leave(calm, app)

    def close(self):
        for _, app in self._apps:
            app.__exit__()


@pytest.fixture
def fire(own_server, scaled):
    with FaultProxy(own_server.port) as proxy:
        yield Fire(own_server, proxy, scaled((0.1, 0.5), (0.5, 5)), (0.1, 0.5), 200)
    own_server.resume()


def test_whatever_happens_in_whatever_order_all_arrives(own_server, fire, spool, tmp_path, scaled):
    """20 minutes of it in the long form.  DATACAT_TEST_SEED=... repeats a schedule."""
    print("DATACAT_TEST_SEED=%s" % SEED)
    chance = random.Random(SEED)
    crowd = Crowd(chance, tmp_path, fire.url, spool)
    try:
        until = monotonic() + scaled(8, 600)
        while monotonic() < until or not all(crowd.ends.values()):
            fire.keep_up(1)
            crowd.strike()
        crowd.leave()
    finally:
        crowd.close()
    wait_until(lambda: not others_in(tmp_path), 60)
    report = deliver_what_is_left(
        fire,
        [crowd.accepted],
        tmp_path,
        scaled(120, 1200),
        allow=dict.fromkeys(["twice", "out_of_order", "split"], ANY_NUMBER),
        own=OWN,
    )
    check_order_by_writer(own_server.sessions())
    for kind in ("out_of_order", "split"):
        check_only_in((SHARED,), report.deviations[kind])
    # Of a session that a child writes into, classic servers leave it unknown what arrived.
    check_only_in((SHARED,) if own_server.classic else (), report.deviations["twice"])
    check_calls([crowd.accepted], SICK_DISK)


def check_only_in(labels, deviations):
    """Check that deviations were found only in sessions whose labels begin so."""
    others = [text for text in deviations if not any(label in text for label in labels)]
    assert not others, others[:10]


def others_in(folder):
    """Return the processes that still work in a folder: forked children of killed ones."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/cwd" % pid) == str(folder):
                found.append(int(pid))
        except OSError:
            pass  # it has ended, or is not ours
    return found
