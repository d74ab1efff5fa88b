"""What the tests of faults in the process, the disk and the clocks share.

Here may live the text with which their applications begin, waiting for a delivery, and the
faults that need the system (strace, mounts). What one fault does belongs into its test.
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
from tools.waiting import wait_until

# What an outbox tells of itself besides, when it was offline or forked.
OWN = OWN_EVENTS | frozenset(["session_forked", "session_opened_offline", "session_ended_offline"])

GLANCE = 0.1  # seconds between looks at a server that is being written to
PRODUCT = "host-faults"

# `say` tells the test something, `wait_for` waits until the test tells something.
HEAD = u"""\
from __future__ import absolute_import, division, print_function
import gc, json, logging, os, signal, sys, threading, time
if "DIES_WITH_PARENT" in os.environ:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive strace
logging.basicConfig(format="LOGGED %(levelname)s %(name)s %(message)s")
from tools import farewells
from tools.recorder import Recorder
import datacat
farewells.watch(datacat.Session)

ACCEPTED, URL = sys.argv[1:3]

def say(word, **more):
    os.write(1, ("SAYS " + json.dumps([word, more]) + "\\n").encode("ascii"))

def wait_for(word, patience=60):
    end = time.time() + patience
    while not os.path.exists(word):
        if time.time() > end:
            sys.exit("nobody said " + word)
        time.sleep(0.01)

def open_session(**options):
    return datacat.create_session(URL, product="host-faults", version="1", **options)

def recorder_of(session, writer="w", **options):
    return Recorder(session, ACCEPTED, writer, **options)

"""

# What multiprocessing spawns imports the program, and does not leave then.
TAIL = u"""
if __name__ == "__main__":
    farewells.leave()
"""

# The next run of an application: continues and adopts what others left.
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
    """Return an Application of HEAD and `program`, not started; it tells when it leaves."""
    if options.get("prefix"):
        options["env"] = dict(options.get("env") or {}, DIES_WITH_PARENT="yes")
    return Application(
        HEAD + program + TAIL, folder, arguments=(url,) + tuple(arguments), **options
    )


def tell(folder, word):
    """Let the applications in `folder` that wait_for(word) go on."""
    with open(os.path.join(str(folder), word), "w"):
        pass


def said(app, word):
    """Return what the application said with each `say(word, ...)`: a list of dicts."""
    lines = [line[5:] for line in app.output.split(u"\n") if line.startswith(u"SAYS ")]
    return [more for each, more in map(json.loads, lines) if each == word]


def await_word(app, word, timeout=60):
    """Wait until the application says a word; return what it said with it first."""
    end = monotonic() + timeout
    while not said(app, word):
        assert app.returncode is None or said(
            app, word
        ), "the application ended (%s) without saying %s:\n%s" % (app.returncode, word, app.output)
        assert monotonic() < end, "%s was not said in %s s:\n%s" % (word, timeout, app.output)
        time.sleep(0.01)
    return said(app, word)[0]


def warnings_of(app, about):
    """Return the lines that the application's logging wrote about something."""
    return [
        line for line in app.output.split(u"\n") if line.startswith(u"LOGGED ") and about in line
    ]


def await_delivery(collector, files, timeout=30, allow=None, own=OWN):
    """Wait until the server has everything that was accepted; then check all invariants.

    allow, own: as check_invariants takes them.
    """
    end = monotonic() + timeout
    may_be_lost = (allow or {}).get("lost", 0)
    while _count_missing(files, collector, own) > may_be_lost:
        if monotonic() > end:
            break
    return check_invariants(files, collector.sessions(), allow, own)


def check_no_losses(app):
    """Check that a run gave up and doubted nothing, of its own or of what it adopted."""
    (found,) = said(app, "losses")
    assert not any(found.values()), found


def _count_missing(files, collector, own):
    began = monotonic()
    missing = len(compare(files, collector.sessions(), own).deviations["lost"])
    if missing:
        # A look at much takes the server's time, and that of the proxy in this process.
        time.sleep(max(GLANCE, min(20.0, 4 * (monotonic() - began))))
    return missing


def deliver_what_is_left(
    collector,
    files,
    folder,
    timeout=30,
    allow=None,
    own=OWN,
    spool=None,
    until=None,
    no_losses=False,
):
    """Run the application's next run until everything has arrived; return the Report.

    The invariants are checked again when it has ended, for a copy may come late.
    spool: the folder of its outboxes, by default what DATACAT_SPOOL_DIR names. until: what must
    hold besides before that run may end. no_losses: whether it may give nothing up, nor doubt it.
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
        run.wait(20)
    if no_losses:
        check_no_losses(run)
    return check_invariants(files, collector.sessions(), allow, own)


def check_order_by_writer(sessions):
    """Assert that each writer's records arrived in the order of its calls.

    For sessions into which several processes write, whose records have no order between them.
    """
    for session in sessions:
        for items in (session.get("events") or (), session.get("metrics") or ()):
            latest = collections.defaultdict(int)
            for mark in filter(None, map(_mark, items)):
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
    """Return the data of all events of a name in these sessions."""
    return [
        event["data"]
        for session in sessions
        for event in session["events"] or ()
        if event["name"] == name
    ]


# Faults that need the system


def strace(*options):
    """Return the start of a command that runs the rest under strace, or skip the test."""
    if not shutil_which("strace"):
        pytest.skip("strace is not installed: this fault cannot be made without it")
    probe = subprocess.Popen(
        ["strace", "-f", "-o", os.devnull, "-e", "trace=none", "true"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    words = probe.communicate()[0]
    if probe.returncode:
        pytest.skip("strace may not trace here: %s" % words.decode("utf-8", "replace").strip())
    return ("strace",) + options


@contextlib.contextmanager
def traced(task, *options):
    """Have strace, with these options, at a process or thread that runs already."""
    tracer = subprocess.Popen(
        strace("-p", str(task), *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert b"attached" in tracer.stdout.readline()
        yield
    finally:
        if tracer.poll() is None:
            tracer.terminate()
        tracer.communicate()


def shutil_which(name):
    """Return where a program is, or None."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    return None


@contextlib.contextmanager
def small_disk(folder, size="1m"):
    """Mount a tmpfs of a size on a new folder; skip the test where that is not allowed."""
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
    """Take all that is left of a disk; return the name of the file that takes it."""
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
    """Copy the outboxes of a folder as they are, which a power cut or a copy would leave."""
    shutil.copytree(str(source), str(target))
    os.chmod(str(target), 0o700)
    return target
