"""A disk that is full, read-only, failing or slow (9, 10, 11): sending continues, calls return."""

from __future__ import absolute_import, division

import contextlib
import os
import re
import signal

import pytest
from tools.call_times import SICK_DISK, check_calls
from tools.host import (
    application,
    await_delivery,
    await_word,
    deliver_what_is_left,
    fill_disk,
    said,
    shutil_which,
    small_disk,
    strace,
    tell,
    traced,
    warnings_of,
)
from tools.waiting import wait_until

NO_LOSSES = {"dead": 0, "dropped": 0, "merged": 0, "possibly_twice": 0}

FULL = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)

def log(count, name):
    for number in range(count):
        recorder.log_event(name, {"number": number, "text": "x" * 200})
        time.sleep(0.001)

log(400, "while there was space")
say("backlog", **session.stats())
wait_for("full")
# A checkpoint may just have made room in the log, which has its size on the disk already.
for _ in range(40):
    log(50, "while the disk was full")
    if session.stats()["in_memory"] > 50:
        break
recorder.update_state({"disk": "full"})
say("refused", **session.stats())
wait_for("served")
say("delivered", flushed=session.flush(120), **session.stats())
log(20, "still full")
session.flush(120)
if sys.argv[3] == "killed while full":
    os.kill(os.getpid(), signal.SIGKILL)
wait_for("space")
until = time.time() + 120
while (log(1, "space again"), session.stats()["in_memory"])[1] and time.time() < until:
    time.sleep(0.1)
log(30, "healed")
say("healed", **session.stats())
os.kill(os.getpid(), signal.SIGKILL)
"""


def losses(stats):
    return dict((name, stats[name]) for name in NO_LOSSES)


@pytest.mark.parametrize("then", ["healed", "killed while full"])
def test_a_full_disk_stops_neither_calls_nor_sending_and_heals(make_collector, tmp_path, then):
    """Disk full: the backlog is sent once; new records wait in memory, later on disk.

    For deliveries that a full disk could not note, the next run asks the server.
    """
    collector = make_collector().start()
    collector.stop()
    with small_disk(tmp_path / "disk", "4m") as disk:
        spool = os.path.join(disk, "spool")
        with application(
            FULL, tmp_path, collector.url, (then,), env={"DATACAT_SPOOL_DIR": spool}
        ) as app:
            assert await_word(app, "backlog")["in_memory"] == 0
            ballast = fill_disk(disk)
            tell(tmp_path, "full")
            refused = await_word(app, "refused")
            assert refused["in_memory"] > 0, "the disk was never full: %s" % refused
            collector.start()
            tell(tmp_path, "served")
            delivered = await_word(app, "delivered")
            assert delivered["flushed"] and losses(delivered) == NO_LOSSES
            if then == "healed":
                os.remove(ballast)
                tell(tmp_path, "space")
                healed = await_word(app, "healed")
                assert healed["in_memory"] == 0 and losses(healed) == NO_LOSSES
            app.wait(expect=-signal.SIGKILL)
        if then != "healed":
            os.remove(ballast)
        deliver_what_is_left(collector, [app.accepted], tmp_path, spool=spool, no_losses=True)
        assert len(warnings_of(app, "WARNING datacat could not")) == 1, app.output
    check_calls([app.accepted])


def test_an_application_works_on_a_disk_that_is_full_from_the_start(own_collector, tmp_path):
    """Disk full: an application that starts on it works, and all that it logs is delivered."""
    with small_disk(tmp_path / "disk", "256k") as disk:
        spool = os.path.join(disk, "spool")
        os.mkdir(spool)
        fill_disk(disk)
        with application(
            UNUSABLE, tmp_path, own_collector.url, env={"DATACAT_SPOOL_DIR": spool}
        ) as app:
            app.wait()
        assert said(app, "logged")[0]["in_memory"] > 0
    assert await_delivery(own_collector, [app.accepted]).accepted == 21
    assert len(warnings_of(app, "WARNING")) == 1, app.output
    check_calls([app.accepted])


# A folder that cannot be used

UNUSABLE = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
for number in range(20):
    recorder.log_event("in memory", {"number": number})
say("logged", **session.stats())
recorder.update_state({"done": True})
say("flushed", flushed=session.flush(120), **session.stats())
session.end()
"""

# Permissions do not bind root, except without these two capabilities.
WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def plainly():
    """Return the beginning of a command that runs the rest bound by permissions."""
    if os.getuid() != 0:
        return ()
    if not shutil_which("setpriv"):
        pytest.skip(
            "root ignores permissions, and setpriv, which could change that, is not installed"
        )
    return WITHOUT_PRIVILEGE


def no_permission(folder):
    folder.mkdir()
    folder.chmod(0o500)
    return {"DATACAT_SPOOL_DIR": str(folder / "spool")}


def no_home(folder):
    return {
        "HOME": "/proc/nobody",
        "XDG_STATE_HOME": "/proc/nobody/state",
        "XDG_DATA_HOME": "/proc/nobody/data",
    }


def file_in_its_place(folder):
    folder.mkdir()
    (folder / "spool").write_bytes(b"not a folder")
    return {"DATACAT_SPOOL_DIR": str(folder / "spool")}


def symbolic_link(folder):
    folder.mkdir()
    (folder / "elsewhere").mkdir()
    os.symlink(str(folder / "elsewhere"), str(folder / "spool"))
    return {"DATACAT_SPOOL_DIR": str(folder / "spool")}


def another_users(folder):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another user")
    folder.mkdir()
    (folder / "spool").mkdir()
    os.chown(str(folder / "spool"), 65534, 65534)
    return {"DATACAT_SPOOL_DIR": str(folder / "spool")}


@pytest.mark.parametrize(
    "unusable", [no_permission, no_home, file_in_its_place, symbolic_link, another_users]
)
def test_an_unusable_folder_costs_persistence_and_nothing_else(own_collector, tmp_path, unusable):
    """Never silent: memory only; one warning says what to do, and stats() shows it."""
    env = unusable(tmp_path / "place")
    with application(UNUSABLE, tmp_path, own_collector.url, env=env, prefix=plainly()) as app:
        app.wait()
    logged, flushed = said(app, "logged")[0], said(app, "flushed")[0]
    assert logged["in_memory"] > 0 and logged["last_error"], logged
    assert flushed["flushed"] and losses(flushed) == NO_LOSSES
    assert await_delivery(own_collector, [app.accepted]).accepted == 21
    warnings = warnings_of(app, "WARNING datacat")
    assert len(warnings) == 1 and "memory" in warnings[0], app.output
    assert "spool_dir" in warnings[0]
    check_calls([app.accepted])
    if unusable is symbolic_link:
        assert os.listdir(str(tmp_path / "place" / "elsewhere")) == []


@pytest.mark.parametrize("mode", [None, 0o700, 0o755])
def test_a_read_only_file_system_costs_persistence_and_nothing_else(own_collector, tmp_path, mode):
    """Never silent: a file system that is read-only at the start is as good as none."""
    with small_disk(tmp_path / "disk") as disk:
        if mode is not None:
            os.mkdir(os.path.join(disk, "spool"))
            os.chmod(os.path.join(disk, "spool"), mode)
        if os.system("mount -o remount,ro %s" % disk):
            pytest.skip("a file system cannot be remounted read-only here")
        with application(
            UNUSABLE,
            tmp_path,
            own_collector.url,
            env={"DATACAT_SPOOL_DIR": os.path.join(disk, "spool")},
        ) as app:
            app.wait()
    assert said(app, "logged")[0]["in_memory"] > 0
    assert await_delivery(own_collector, [app.accepted]).accepted == 21
    assert len(warnings_of(app, "WARNING datacat")) == 1, app.output
    check_calls([app.accepted])


# I/O errors and a slow disk

SICK = u"""
session = open_session(connect_wait=60)
recorder = recorder_of(session)
for number in range(int(sys.argv[3])):
    recorder.log_event("step", {"number": number, "text": "x" * 100})
    time.sleep(0.005)
say("logged", **session.stats())
say("flushed", flushed=session.flush(120), **session.stats())
session.end(10)
"""
WRITES = "pwrite64"
SYNCS = "fdatasync,fsync"


@pytest.mark.parametrize(
    "calls, injection, strikes",
    [
        (WRITES, "error=EIO:when=40..200", 4),
        (WRITES, "error=EIO:when=45+3", 4),
        (WRITES, "error=ENOSPC:when=45+2", 4),
        (SYNCS, "error=EIO:when=3+", 2),
        ("ftruncate,unlink", "error=EIO:when=1+", 2),
    ],
    ids=[
        "writes fail for a while",
        "every third write",
        "now and then no space",
        "syncs",
        "truncating",
    ],
)
def test_io_errors_raise_nothing_and_lose_and_duplicate_nothing(
    own_collector, tmp_path, scaled, calls, injection, strikes
):
    """Never in the way: on a failing disk every call returns and everything arrives once."""
    trace = str(tmp_path / "trace")
    prefix = strace(
        "-f",
        "--seccomp-bpf",
        "-o",
        trace,
        "-e",
        "trace=" + calls,
        "-e",
        "inject=%s:%s" % (calls, injection),
    )
    with application(
        SICK,
        tmp_path,
        own_collector.url,
        (scaled(300, 3000),),
        prefix=prefix,
        env={"DATACAT_SPOOL_DIR": str(tmp_path / "spool")},
    ) as app:
        app.wait(300)
    with open(trace) as stream:
        assert stream.read().count("(INJECTED)") >= strikes, "the disk hardly ever failed"
    assert "Traceback" not in app.output, app.output
    deliver_what_is_left(
        own_collector, [app.accepted], tmp_path, spool=tmp_path / "spool", no_losses=True
    )
    flushed = said(app, "flushed")[0]
    assert losses(flushed) == NO_LOSSES
    check_calls([app.accepted])


BACKLOG = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
for number in range(300):
    recorder.log_event("before", {"number": number, "text": "x" * 3000})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_backlog_that_cannot_be_read_at_first_is_delivered_later(
    make_collector, spool, tmp_path
):
    """Never in the way: a run that cannot read a file works all the same, and leaves it intact."""
    collector = make_collector().start()
    collector.stop()
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    with application(BACKLOG, tmp_path, collector.url, env=env) as app:
        app.wait(expect=-signal.SIGKILL)
    collector.start()
    left = [str(path) for path in spool.iterdir() if "outbox" in path.name]
    trace = str(tmp_path / "trace")
    prefix = strace(
        "-f",
        "-o",
        trace,
        "-e",
        "trace=pread64,read",
        "-e",
        "inject=pread64,read:error=EIO:when=8+4",
        *[word for path in left for word in ("-P", path)]
    )
    with application(
        SICK.replace("recorder_of(session)", "recorder_of(session, 'second')"),
        tmp_path,
        collector.url,
        (300,),
        prefix=prefix,
        env=env,
    ) as second:
        second.wait(300)
    with open(trace) as stream:
        assert stream.read().count("(INJECTED)") > 0, "the disk never failed"
    assert "Traceback" not in second.output, second.output
    check_calls([second.accepted])
    deliver_what_is_left(collector, [app.accepted], tmp_path)
    assert not [path for path in spool.iterdir() if "corrupt" in path.name]


# Slow to the library, which must know a slow disk from a fast one.
SLOW = u"""
from datacat.outbox import upkeep
call_times.be_patient(False)
records, size, upkeep.CHECKPOINT_BYTES = map(int, sys.argv[3:])
session = open_session(connect_wait=60)
recorder = recorder_of(session)
session.flush(60)
say("ready")
wait_for("slow")
number = 0
while number < records or not os.path.exists("enough"):
    number += 1
    recorder.log_event("step", {"number": number, "text": "x" * size})
    time.sleep(0.005)
say("flushed", flushed=session.flush(300), **session.stats())
session.end(60)
"""


def run_on_slow_disk(calls, delay, folder, collector, amounts, strikes):
    """Run an application until so many system calls were slow; return (its process id, trace).

    The trace has the application's writes, too, among them those of its recorder.
    """
    trace = str(folder / "trace")
    with application(
        SLOW, folder, collector.url, amounts, env={"DATACAT_SPOOL_DIR": str(folder / "spool")}
    ) as app:
        await_word(app, "ready")
        with traced(
            app.pid,
            "-f",
            "-o",
            trace,
            "-e",
            "trace=write," + calls,
            "-s",
            "10000",
            "-e",
            "inject=%s:delay_enter=%d" % (calls, delay * 1000000),
        ):
            tell(folder, "slow")
            wait_until(lambda: read(trace).count("(DELAYED)") >= strikes)
            tell(folder, "enough")
            app.wait(600)
        pid = app.pid
    assert said(app, "flushed")[0]["flushed"] and losses(said(app, "flushed")[0]) == NO_LOSSES
    assert len(warnings_of(app, "WARNING datacat")) <= 1, app.output
    assert await_delivery(collector, [app.accepted]).accepted >= amounts[0]
    check_calls([app.accepted], SICK_DISK)
    # What it does at its end is another matter.
    return pid, read(trace).split('"SAYS [\\"flushed')[0]


def read(path):
    with open(path) as stream:
        return stream.read()


def events_of_trace(trace):
    """Yield (thread, system call, "begins", "ends" or "is whole", line), in strace's order."""
    for line in trace.split("\n"):
        match = re.match(r"(\d+) +(<\.\.\. )?(\w+)(?:\(| resumed>)", line)
        if match:
            thread, resumed, call = match.groups()
            phase = "ends" if resumed else "begins" if "<unfinished" in line else "is whole"
            yield int(thread), call, phase, line


def count_calls_during_syncs(trace, pid):
    """Return during how many syncs of other threads a log call began and returned.

    Fails if the thread that logs makes a sync itself.
    """
    syncing, trying, found = {}, set(), set()
    for number, (thread, call, phase, line) in enumerate(events_of_trace(trace)):
        if call != "write":
            assert thread != pid, "a log call made a sync: " + line
            if phase == "begins":
                syncing[thread] = number
            else:
                syncing.pop(thread, None)
        elif thread == pid and '\\"trying\\": ' in line:
            trying = set(syncing.values())
        elif thread == pid and '\\"returned\\": ' in line:
            found |= trying & set(syncing.values())
    return len(found)


def test_syncs_of_half_a_second_do_not_hold_up_the_application(own_collector, tmp_path, scaled):
    """Never in the way: nor do the syncs of checkpoints, or of a log that starts over."""
    amounts = scaled(100, 6000), 4000, scaled(1 << 18, 1 << 22)
    strikes = scaled(6, 40)
    pid, trace = run_on_slow_disk(
        "fdatasync,fsync", 0.5, tmp_path, own_collector, amounts, strikes
    )
    assert count_calls_during_syncs(trace, pid) >= strikes // 2


def most_writes_of_a_call(trace, pid):
    """Return how many writes to the disk the busiest log call made."""
    most = made = 0
    for thread, call, phase, line in events_of_trace(trace):
        if thread == pid and call == "pwrite64":
            made += phase != "ends"
        elif thread == pid and '\\"trying\\": ' in line:
            made = 0
        elif thread == pid and '\\"returned\\": ' in line:
            most = max(most, made)
    return most


def test_writes_of_20_ms_do_not_hold_up_the_application(own_collector, tmp_path, scaled):
    """Never in the way: on a slow disk a log call takes 250 ms at most, which is 12 writes."""
    amounts = scaled(40, 400), 100, 1 << 22
    pid, trace = run_on_slow_disk("pwrite64", 0.02, tmp_path, own_collector, amounts, 100)
    assert 0 < most_writes_of_a_call(trace, pid) <= 12


FAREWELL = u"""
call_times.be_patient(False)
session = open_session(connect_wait=0)
recorder = recorder_of(session)
say("ready", pid=os.getpid())
wait_for("slow")
for number in range(int(sys.argv[3])):
    recorder.log_event("step", {"number": number})
    time.sleep(0.02)
if sys.argv[5:] == ["when told"]:
    wait_for("part")
getattr(session, sys.argv[4])(0.5)
recorder.log_event("after")
say("leaving")
"""


@contextlib.contextmanager
def slowed(app, options, from_the_start):
    """Slow an application down, unless it was started that way; give its process id."""
    pid = await_word(app, "ready")["pid"]
    if from_the_start:
        yield pid
    else:
        with traced(pid, *options):
            yield pid


def count_syncs(trace, pid):
    """Return how many syncs a thread began."""
    return sum(
        thread == pid and call != "write" and phase != "ends"
        for thread, call, phase, _ in events_of_trace(trace)
    )


@pytest.mark.parametrize(
    "delay, records, farewell",
    [
        (0.5, 2, "close"),
        (0.5, 100, "end"),
        (3.0, 300, "close"),
    ],
    ids=["at once", "half a second", "three seconds"],
)
def test_slow_syncs_delay_neither_close_nor_later_calls_nor_exit(
    own_collector, spool, tmp_path, delay, records, farewell
):
    """Never in the way: closing takes several syncs, and so does opening again.

    The main thread makes none of them, and at its exit only those for which there is time.
    """
    calls = "fdatasync,fsync"
    options = (
        "-f",
        "-o",
        str(tmp_path / "trace"),
        "-s",
        "64",
        "-e",
        "trace=write," + calls,
        "-e",
        "inject=%s:delay_enter=%d" % (calls, delay * 1000000),
    )
    own_collector.stop()
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    from_the_start = strace(*options) if records == 2 else ()
    with application(
        FAREWELL, tmp_path, own_collector.url, (records, farewell), env=env, prefix=from_the_start
    ) as app:
        with slowed(app, options, from_the_start) as pid:
            tell(tmp_path, "slow")
            app.wait()
    trace = read(str(tmp_path / "trace"))
    working, leaving = trace.split("leaving")
    assert count_syncs(working.split("ready")[-1], pid) == 0
    assert count_syncs(leaving, pid) <= (2.0 + 0.5) / delay
    assert "sync(" in trace
    check_calls([app.accepted], SICK_DISK)
    own_collector.start()
    report = deliver_what_is_left(own_collector, [app.accepted], tmp_path, no_losses=True)
    assert report.accepted == records + 1


@pytest.mark.parametrize("farewell", ["close", "end"])
def test_a_farewell_does_not_wait_for_a_sync_that_is_stuck(
    own_collector, spool, tmp_path, farewell
):
    """Never in the way: nor do a log call after it and the exit, until which the disk is stuck."""
    trace = str(tmp_path / "trace")
    options = ("-f", "-o", trace, "-e", "trace=exit_group,fdatasync,fsync")
    stuck = ("-e", "inject=fdatasync,fsync:delay_enter=600000000")
    own_collector.stop()
    with application(
        FAREWELL,
        tmp_path,
        own_collector.url,
        (20, farewell, "when told"),
        env={"DATACAT_SPOOL_DIR": str(spool)},
    ) as app:
        with traced(await_word(app, "ready")["pid"], *(options + stuck)) as tracer:
            tell(tmp_path, "slow")
            wait_until(lambda: "sync(" in read(trace))
            tell(tmp_path, "part")
            try:
                wait_until(lambda: "exit_group(" in read(trace))
            finally:
                tracer.kill()
            assert "sync resumed" not in read(trace).split("exit_group(")[0]
        app.wait()
    check_calls([app.accepted], SICK_DISK)
    own_collector.start()
    deliver_what_is_left(own_collector, [app.accepted], tmp_path, no_losses=True)
