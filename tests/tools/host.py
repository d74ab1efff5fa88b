"""What the tests of faults in the process, the disk and the clocks share.

Belongs here: the beginning of their applications' programs, waiting for deliveries, faults that
need the system (strace, mounts).  Does not: what a single test needs.
"""

from __future__ import absolute_import, division

import collections
import contextlib
import errno
import json
import os
import shutil
import subprocess
import time

import pytest

from datacat._compat import monotonic
from tools.application import Application
from tools.invariants import OWN_EVENTS, check_invariants, compare
from tools.report import LOSSES
from tools.waiting import PATIENCE, wait_until

# What the client itself logs, after an outage or a fork.
OWN = OWN_EVENTS | frozenset(["session_forked", "session_opened_offline", "session_ended_offline"])

GLANCE = 0.1  # seconds between requests to a server that is being written to
PRODUCT = "host-faults"

# `say` prints something for the test; `wait_for` waits until the test calls `tell`.
HEAD = u"""\
from __future__ import absolute_import, division, print_function
import gc, json, logging, os, signal, sys, threading, time, weakref
if "DIES_WITH_PARENT" in os.environ:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive strace
logging.basicConfig(format="LOGGED %(levelname)s %(name)s %(message)s")
from tools import call_times, farewells
from tools.recorder import EVERY_EXCEPTION, Recorder
import datacat
call_times.be_patient()
farewells.watch(datacat.Session)

ACCEPTED, URL = sys.argv[1:3]

def say(word, **more):
    os.write(1, ("SAYS " + json.dumps([word, more]) + "\\n").encode("ascii"))

def wait_for(word, patience=600):
    end = time.time() + patience
    while not os.path.exists(word):
        if time.time() > end:
            sys.exit("nobody said " + word)
        time.sleep(0.01)

def open_session(**options):
    options = dict({"max_per_minute": EVERY_EXCEPTION}, **options)
    return datacat.create_session(URL, product="host-faults", version="1", **options)

def recorder_of(session, writer="w", **options):
    return Recorder(session, ACCEPTED, writer, **options)

"""

# A process spawned by multiprocessing imports the program, and is not the application.
TAIL = u"""
if __name__ == "__main__":
    farewells.leave()
"""

# The next run of an application, which delivers what earlier ones left.
NEXT_RUN = u"""
from tools.losses import losses
session = open_session()
say("up")
wait_for("finish")
session.end()
say("ended", **session.stats())
say("losses", **losses())
"""


def application(program, folder, url, arguments=(), **options):
    """Return an Application of HEAD and `program`, not started yet."""
    if options.get("prefix"):
        options["env"] = dict(options.get("env") or {}, DIES_WITH_PARENT="yes")
    return Application(
        HEAD + program + TAIL, folder, arguments=(url,) + tuple(arguments), **options
    )


def tell(folder, word):
    """Let the applications in `folder` that wait_for(word) continue."""
    with open(os.path.join(str(folder), word), "w"):
        pass


def said(app, word):
    """Return the arguments of each `say(word, ...)` of the application: a list of dicts."""
    lines = [line[5:] for line in app.output.split(u"\n") if line.startswith(u"SAYS ")]
    return [more for each, more in map(json.loads, lines) if each == word]


def await_word(app, word, timeout=PATIENCE):
    """Wait until the application says a word; return the arguments of the first time."""
    end = monotonic() + timeout
    while not said(app, word):
        assert app.returncode is None or said(
            app, word
        ), "the application ended (%s) without saying %s:\n%s" % (app.returncode, word, app.output)
        assert monotonic() < end, "%s was not said in %s s:\n%s" % (word, timeout, app.output)
        time.sleep(0.01)
    return said(app, word)[0]


def warnings_of(app, about):
    """Return the warnings in the application's output that contain some text."""
    return [
        line for line in app.output.split(u"\n") if line.startswith(u"LOGGED ") and about in line
    ]


def await_delivery(collector, files, timeout=PATIENCE, allow=None, own=OWN):
    """Wait until the server has everything that was accepted; then check all invariants.

    allow, own: see check_invariants.
    """
    end = monotonic() + timeout
    may_be_lost = (allow or {}).get("lost", 0)
    while _count_missing(files, collector, own) > may_be_lost:
        if monotonic() > end:
            break
    return check_invariants(files, collector.sessions(), allow, own)


def check_no_losses(app):
    """Check that a run dropped no record and sent none in doubt, not even an adopted one."""
    (found,) = said(app, "losses")
    assert not any(found[name] for name in LOSSES), found


def _count_missing(files, collector, own):
    began = monotonic()
    missing = len(compare(files, collector.sessions(), own).deviations["lost"])
    if missing:
        # Reading many records takes time of the server, and of the proxy in this process.
        time.sleep(max(GLANCE, min(20.0, 4 * (monotonic() - began))))
    return missing


def deliver_what_is_left(
    collector,
    files,
    folder,
    timeout=PATIENCE,
    allow=None,
    own=OWN,
    spool=None,
    until=None,
    no_losses=False,
):
    """Run the application's next run until everything has arrived; return the Report.

    The invariants are checked again after its end, because a copy may arrive late.
    spool: the folder of its outboxes, by default DATACAT_SPOOL_DIR. until: a further condition
    for its end. no_losses: whether to check that no record was dropped or sent in doubt.
    """
    workplace = os.path.join(str(folder), "next-run-%d" % len(os.listdir(str(folder))))
    os.mkdir(workplace)
    env = {"DATACAT_SPOOL_DIR": str(spool or os.environ["DATACAT_SPOOL_DIR"])}
    with application(NEXT_RUN, workplace, collector.url, env=env) as run:
        await_word(run, "up")
        await_delivery(collector, files, timeout, allow, own)
        if until is not None:
            wait_until(until, timeout)
        tell(workplace, "finish")
        run.wait()
    if no_losses:
        check_no_losses(run)
    return check_invariants(files, collector.sessions(), allow, own)


def check_order_by_writer(sessions):
    """Assert that each writer's records first arrived in the order of its calls.

    For sessions that several processes write to: there is no order between the processes.
    """
    for session in sessions:
        for items in (session.get("events") or (), session.get("metrics") or ()):
            latest = collections.defaultdict(int)
            marks = collections.OrderedDict.fromkeys(map(_mark, items))
            for mark in filter(None, marks):
                writer, number = mark.rsplit(".", 1)
                assert int(number) > latest[writer], "%s came after %s" % (mark, latest[writer])
                latest[writer] = int(number)


def _mark(item):
    data = item.get("data")
    if isinstance(data, dict) and "mark" in data:
        return data["mark"]
    marks = [tag[5:] for tag in item.get("tags") or () if tag.startswith("mark:")]
    return marks[0] if marks else None


def events_of(sessions, name):
    """Return the data of all events with a name in these sessions."""
    return [
        event["data"]
        for session in sessions
        for event in session["events"] or ()
        if event["name"] == name
    ]


# Faults that need the operating system


def strace(*options):
    """Return the beginning of a command that runs the rest under strace, or skip the test."""
    if not shutil_which("strace"):
        pytest.skip("this fault needs strace, which is not installed")
    probe = subprocess.Popen(
        ["strace", "-f", "-o", os.devnull, "-e", "trace=none", "true"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    words = probe.communicate()[0]
    if probe.returncode:
        pytest.skip(
            "strace is not allowed to trace here: %s" % words.decode("utf-8", "replace").strip()
        )
    return ("strace",) + options


@contextlib.contextmanager
def traced(task, *options):
    """Attach strace, with these options, to a running process or thread; give strace's process.

    A thread that strace delays ends no sooner, unless strace is killed.
    """
    tracer = subprocess.Popen(
        strace("-p", str(task), *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert b"attached" in tracer.stdout.readline()
        yield tracer
    finally:
        if tracer.poll() is None:
            tracer.terminate()
        tracer.communicate()


def shutil_which(name):
    """Return the path of a program, or None."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    return None


@contextlib.contextmanager
def small_disk(folder, size="1m"):
    """Mount a small tmpfs on a new folder; skip the test where that is not allowed."""
    folder = str(folder)
    os.mkdir(folder)
    mount = subprocess.Popen(
        ["mount", "-t", "tmpfs", "-o", "size=%s,mode=0700" % size, "tmpfs", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    words = mount.communicate()[0]
    if mount.returncode:
        pytest.skip("no tmpfs can be mounted here: %s" % words.decode("utf-8", "replace").strip())
    try:
        yield folder
    finally:
        subprocess.check_call(["umount", "-l", folder])


def fill_disk(folder):
    """Fill a disk; return the name of the file that fills it."""
    ballast = os.path.join(str(folder), "ballast")
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (65536, 512, 1):
            _write_until_full(descriptor, b"x" * size)
    finally:
        os.close(descriptor)
    assert os.statvfs(str(folder)).f_bavail == 0, "the disk is not full"
    return ballast


def _write_until_full(descriptor, piece):
    try:
        while True:
            os.write(descriptor, piece)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def copy_spool(source, target):
    """Copy the outboxes of a folder as they are, while they are in use."""
    shutil.copytree(str(source), str(target))
    os.chmod(str(target), 0o700)
    return target
