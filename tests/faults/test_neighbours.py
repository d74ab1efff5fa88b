"""Processes, products and users that share a spool folder (15, 16) use only their own files."""

from __future__ import absolute_import, division

import glob
import os
import shutil
import signal
import stat

import pytest
from tools.call_times import check_calls
from tools.host import (
    application,
    await_delivery,
    await_word,
    check_no_losses,
    deliver_what_is_left,
    events_of,
    said,
    tell,
    warnings_of,
)
from tools.invariants import read_accepted
from tools.report import LOSSES
from tools.waiting import wait_until

WORKING = u"""
session = open_session(connect_wait=float(sys.argv[4]))
recorder = recorder_of(session, sys.argv[3])
say("ready")
wait_for("start")
for number in range(20):
    recorder.log_event("step", {"number": number})
    recorder.update_state({"at": number})
if sys.argv[5:] == ["killed"]:
    os.kill(os.getpid(), signal.SIGKILL)
session.end(300)
say("ended", **session.stats())
"""


def start_many(count, folder, collector, spool, then=(), connect_wait=5):
    """Start applications that share a folder and an accepted file."""
    return [
        application(
            WORKING,
            folder,
            collector.url,
            ("w%d" % number, connect_wait) + tuple(then),
            accepted=os.path.join(str(folder), "accepted.jsonl"),
            env={"DATACAT_SPOOL_DIR": str(spool)},
        ).start()
        for number in range(count)
    ]


@pytest.mark.parametrize("many", [False, True], ids=["two", "many"])
def test_processes_of_one_application_do_not_disturb_each_other(
    own_collector, spool, tmp_path, scaled, many
):
    """Once: 2 and 20 processes at once lose, copy and mix nothing."""
    count = scaled(7, 20) if many else 2
    running = start_many(count, tmp_path, own_collector, spool)
    for each in running:
        await_word(each, "ready")
    tell(tmp_path, "start")
    for each in running:
        each.wait(600)
    report = await_delivery(own_collector, [running[0].accepted])
    assert report.accepted == count * 40
    assert not report.own["session_crashed_detected"]
    assert glob.glob(str(spool / "*.outbox")) == [], "an ended process left its outbox behind"
    for each in running:
        ended = said(each, "ended")[0]
        assert not any(ended[name] for name in LOSSES), ended
    check_calls([running[0].accepted])


def test_processes_that_race_to_adopt_outboxes_make_no_copy(
    make_collector, spool, tmp_path, scaled
):
    """Once: one process adopts each abandoned outbox, however many try at the same moment."""
    collector = make_collector().start()
    collector.stop()
    # One after the other, each would continue the outbox of the one before.
    count = scaled(5, 10)
    running = start_many(count, tmp_path, collector, spool, ["killed"], connect_wait=0)
    for each in running:
        await_word(each, "ready")
    tell(tmp_path, "start")
    for each in running:
        each.wait(300, expect=-signal.SIGKILL)
    left = len(glob.glob(str(spool / "*.outbox")))
    assert left == count
    collector.start()
    racers = tmp_path / "racers"
    racers.mkdir()
    heirs = [
        application(RACING, racers, collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}).start()
        for _ in range(count)
    ]
    for each in heirs:
        await_word(each, "ready")
    tell(racers, "start")
    report = await_delivery(collector, [running[0].accepted])
    tell(racers, "finish")
    for each in heirs:
        each.wait(600)
    assert report.accepted == count * 40
    deliver_what_is_left(collector, [running[0].accepted], tmp_path)
    for each in heirs:
        check_no_losses(each)
    check_calls([running[0].accepted])


RACING = u"""
from tools.losses import losses
say("ready")
wait_for("start")
session = open_session(connect_wait=10)
wait_for("finish")
session.end(300)
say("losses", **losses())
"""

# With `session` and `is_killed`: its writer logs, and then it is killed, or waits for its end.
LOGS_AND_STAYS = u"""
recorder = recorder_of(session, sys.argv[3])
for number in range(10):
    recorder.log_event("step", {"number": number})
if is_killed:
    os.kill(os.getpid(), signal.SIGKILL)
say("up")
wait_for("finish-" + sys.argv[3])
session.end(300)
"""

SCOPED = u"""
is_killed = sys.argv[6] == "killed"
session = datacat.create_session(
    URL, product=sys.argv[4], version="1", api_key=sys.argv[5] or None, connect_wait=0)
""" + LOGS_AND_STAYS


def scoped(folder, spool, collector, writer, product, key, then):
    return application(
        SCOPED,
        folder,
        collector.url,
        (writer, product, key, then),
        accepted=os.path.join(str(folder), collector.db[-14:] + product),
        env={"DATACAT_SPOOL_DIR": str(spool)},
    )


def all_accepted(folder, collector):
    """Return the accepted files of all applications, of any product, for a server."""
    names = os.path.join(str(folder), collector.db[-14:])
    return sorted(glob.glob(names + "one") + glob.glob(names + "two"))


def test_products_and_servers_share_a_folder_but_no_records(make_collector, spool, tmp_path):
    """Trust: an outbox is adopted only in its scope; nothing goes to another server or product."""
    servers = [make_collector().start(), make_collector(api_key="the key").start()]
    parties = [(servers[0], "one", ""), (servers[0], "two", ""), (servers[1], "one", "the key")]
    for server in servers:
        server.stop()
    for server, product, key in parties:
        with scoped(tmp_path, spool, server, "killed", product, key, "killed") as app:
            app.wait(expect=-signal.SIGKILL)
    for server in servers:
        server.start()
    # The first application comes back, and must leave the outboxes of the others alone.
    with scoped(tmp_path, spool, servers[0], "first", "one", "", "lives") as app:
        await_word(app, "up")
        await_delivery(servers[0], [app.accepted])
        tell(tmp_path, "finish-first")
        app.wait(600)
    assert len(glob.glob(str(spool / "*.outbox"))) == 2
    assert servers[1].sessions() == []
    for server, product, key in parties[1:]:
        with scoped(tmp_path, spool, server, "next" + product, product, key, "lives") as app:
            await_delivery(server, all_accepted(tmp_path, server))
            tell(tmp_path, "finish-next" + product)
            app.wait(600)
    for server in servers:
        await_delivery(server, all_accepted(tmp_path, server))
        check_calls(all_accepted(tmp_path, server))


DELETED = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
for number in range(50):
    recorder.log_event("before", {"number": number})
say("before")
wait_for("deleted")
for number in range(50):
    recorder.log_event("after", {"number": number})
    time.sleep(0.05)
wait_for("moved")
say("after", **session.stats())
os.kill(os.getpid(), signal.SIGKILL)
"""


def has_moved(spool, marks):
    """Return whether the files in a spool, if there are any, hold these records."""
    content = b""
    for path in glob.glob(str(spool / "*.outbox*")):
        with open(path, "rb") as stream:
            content += stream.read()
    return all(mark.encode("ascii") in content for mark in marks)


def test_a_folder_deleted_under_a_running_application_is_recreated(
    make_collector, spool, tmp_path
):
    """Accepted means kept: waiting records move to a new file, and a kill then loses nothing."""
    collector = make_collector().start()
    collector.stop()
    with application(
        DELETED, tmp_path, collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        await_word(app, "before")
        shutil.rmtree(str(spool))
        tell(tmp_path, "deleted")
        app.wait_for_accepted(100)
        wait_until(lambda: has_moved(spool, list(read_accepted([app.accepted]))))
        tell(tmp_path, "moved")
        after = await_word(app, "after")
        app.wait(expect=-signal.SIGKILL)
    assert (after["dropped"], after["dead"]) == (0, 0)
    assert len(warnings_of(app, "deleted")) == 1, app.output
    assert glob.glob(str(spool / "*.outbox")) != []
    collector.start()
    deliver_what_is_left(collector, [app.accepted], tmp_path, no_losses=True)
    check_calls([app.accepted])


READS_ITS_FOLDER = u"""
import shutil
session = open_session(connect_wait=0)
recorder = recorder_of(session)
for number in range(300):
    recorder.log_event("step", {"number": number})
    if number % 50 == 10:
        shutil.make_archive("bundle", "zip", os.environ["DATACAT_SPOOL_DIR"])
say("bundled")
wait_for("neighbour is there")
for number in range(300, 400):
    recorder.log_event("step", {"number": number})
session.end(300)
say("ended", **session.stats())
"""


def test_an_application_may_read_its_own_spool_folder(make_collector, spool, tmp_path):
    """Once: a zip drops sqlite's lock; another process must not open the outbox all the same."""
    collector = make_collector().start()
    collector.stop()
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    with application(READS_ITS_FOLDER, tmp_path, collector.url, env=env) as app:
        await_word(app, "bundled")
        with application(
            WORKING, tmp_path, collector.url, ("n", 0), env=env, accepted=str(tmp_path / "n.jsonl")
        ) as neighbour:
            await_word(neighbour, "ready")
            assert len(glob.glob(str(spool / "*.outbox"))) == 2, "it continued a living outbox"
            collector.start()
            tell(tmp_path, "start")
            tell(tmp_path, "neighbour is there")
            neighbour.wait(600)
        app.wait(600)
    report = deliver_what_is_left(
        collector, [app.accepted, neighbour.accepted], tmp_path, no_losses=True
    )
    assert not report.own["session_crashed_detected"]
    ended = said(app, "ended")[0]
    assert not any(ended[name] for name in LOSSES), ended
    check_calls([app.accepted, neighbour.accepted])


RENAMED = u"""
import socket
socket.gethostname = lambda: sys.argv[4]
is_killed = sys.argv[3] == "killed"
session = open_session(connect_wait=0, machine=sys.argv[5] or None)
""" + LOGS_AND_STAYS


@pytest.mark.parametrize("machines", [("", ""), ("pod-1", "pod-2")], ids=["host", "machine"])
def test_what_waits_is_sent_under_another_host_name(make_collector, spool, tmp_path, machines):
    """Once: laptops on DHCP change their names, and pods take over volumes."""
    collector = make_collector().start()
    collector.stop()
    env, accepted = {"DATACAT_SPOOL_DIR": str(spool)}, str(tmp_path / "accepted.jsonl")
    with application(
        RENAMED, tmp_path, collector.url, ("killed", "laptop", machines[0]), env=env
    ) as app:
        app.wait(expect=-signal.SIGKILL)
    collector.start()
    with application(
        RENAMED, tmp_path, collector.url, ("next", "guest-7", machines[1]), env=env
    ) as app:
        await_delivery(collector, [accepted])
        tell(tmp_path, "finish-next")
        app.wait(600)
    assert glob.glob(str(spool / "*.outbox")) == []
    check_calls([accepted])


LEAVING_MANY = u"""
from datacat import scope, settings
from datacat.outbox.outbox import Outbox
from datacat.outbox.spool import Spool
from datacat.records import build, kinds
resolved = settings.resolve(URL, product="host-faults", version="1")
spool = Spool(resolved.spool_dir, scope.of(resolved), False, print)
opening = build.encode(build.opening("host-faults", "1"))
for number in range(int(sys.argv[3])):
    outbox = Outbox(spool.create(), 256 * 1024 * 1024, print)
    entry = outbox.add_session(u"local-%d" % number, opening)
    outbox.append(entry, kinds.OPEN, opening)
    outbox.append(entry, kinds.EVENT, build.encode(build.event("left", {"number": number})))
    outbox.take_in()
    # As a kill leaves it.
    outbox.disk.store.close()
"""

AMONG_MANY = u"""
import resource
from datacat.process import fork
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[3]), hard))
session = open_session(connect_wait=10)
lost = opened = 0
until = time.time() + 60
while time.time() < until and len(os.listdir(os.environ["DATACAT_SPOOL_DIR"])) > 5:
    mine = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[3]) // 2)]
    opened += len(mine)
    child = os.fork()
    if not child:
        os._exit(fork.sqlite_is_lost())
    lost += os.waitpid(child, 0)[1] != 0
    for descriptor in mine:
        os.close(descriptor)
    time.sleep(0.002)
say("done", lost=lost, opened=opened)
session.end(60)
"""


def test_many_outboxes_of_dead_processes_hold_up_neither_forks_nor_files(
    own_collector, spool, tmp_path, scaled
):
    """The application keeps half of its descriptors, and a child of a fork can use sqlite."""
    count, limit = scaled(60, 150), scaled(128, 256)
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    with application(LEAVING_MANY, tmp_path, own_collector.url, (count,), env=env) as app:
        app.wait(600)
    with application(AMONG_MANY, tmp_path, own_collector.url, (limit,), env=env) as app:
        done = await_word(app, "done")
        app.wait(600)
    assert done["opened"] >= limit // 2 and done["lost"] == 0
    left = events_of(own_collector.sessions(), "left")
    assert sorted(each["number"] for each in left) == list(range(count))


def content_and_time(path):
    with open(path, "rb") as stream:
        return stream.read(), os.stat(path).st_mtime


PRIVATE = u"""
os.umask(int(sys.argv[3], 8))
session = open_session(connect_wait=0)
recorder = recorder_of(session)
recorder.log_event("private")
time.sleep(1.3)  # mostly, the keeper has looked after its files, too
say("logged", **session.stats())
wait_for("seen")
"""


@pytest.mark.parametrize("umask", ["0", "022", "077", "0777"])
def test_outboxes_are_private_whatever_the_umask(own_collector, tmp_path, umask):
    """Trust: the folder is 0700 and every file in it 0600."""
    spool = tmp_path / "spool"
    with application(
        PRIVATE, tmp_path, own_collector.url, (umask,), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        assert await_word(app, "logged")["in_memory"] == 0
        modes = dict(
            (name, stat.S_IMODE(os.stat(str(spool / name)).st_mode))
            for name in os.listdir(str(spool))
        )
        tell(tmp_path, "seen")
        app.wait()
    assert len(modes) >= 2, modes
    assert set(modes.values()) == set([0o600]), modes
    assert stat.S_IMODE(os.stat(str(spool)).st_mode) == 0o700
    await_delivery(own_collector, [app.accepted])
    check_calls([app.accepted])


@pytest.mark.parametrize("is_foreign", [False, True], ids=["symlink", "another user's"])
def test_an_outbox_that_is_not_ours_is_neither_read_nor_written(
    make_collector, spool, tmp_path, is_foreign
):
    """Trust: a symbolic link and another user's file are left alone."""
    if is_foreign and os.getuid() != 0:
        pytest.skip("only root can give a file to another user")
    collector = make_collector().start()
    collector.stop()
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    with application(WORKING, tmp_path, collector.url, ("w", 0, "killed"), env=env) as app:
        tell(tmp_path, "start")
        app.wait(expect=-signal.SIGKILL)
    (planted,) = glob.glob(str(spool / "*.outbox"))
    if is_foreign:
        os.chown(planted, 65534, 65534)
    else:
        os.rename(planted, str(tmp_path / "elsewhere"))
        os.symlink(str(tmp_path / "elsewhere"), planted)
    before = content_and_time(planted)
    collector.start()
    with application(
        WORKING, tmp_path, collector.url, ("own", 5), env=env, accepted=str(tmp_path / "own.jsonl")
    ) as own:
        own.wait(600)
    await_delivery(collector, [own.accepted])
    check_calls([own.accepted])
    assert content_and_time(planted) == before
    wait_until(lambda: len(collector.sessions()) == 1)
