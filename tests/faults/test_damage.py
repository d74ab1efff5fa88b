"""A damaged outbox (12): what can be read is delivered, nothing false, and nobody is stopped."""
from __future__ import absolute_import, division

import glob
import json
import os
import shutil
import sqlite3

import pytest
from tools.host import (
    OWN,
    application,
    copy_spool,
    said,
    warnings_of,
)
from tools.invariants import check_invariants, read_accepted

from datacat import records
from datacat.notices import Notices
from datacat.outbox import Outbox
from datacat.spool import Spool

STEP = 512
RECORDS = 60

LEFT = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
for number in range(60):
    recorder.log_event("step", {"number": number, "text": "x" * (number % 7 * 50)})
if sys.argv[3] == "in the log":
    os.kill(os.getpid(), signal.SIGKILL)
# A close moves the write-ahead log into the database.
session.close(0.1)
say("closed")
os._exit(0)
"""


@pytest.fixture(params=["in the log", "in the database"])
def left(request, make_collector, spool, tmp_path):
    """What an application left: its records in the write-ahead log or in the database."""
    collector = make_collector().start()
    collector.stop()
    with application(LEFT, tmp_path, collector.url, (request.param,),
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        app.wait(30, expect=None)
    for reserve in glob.glob(str(spool / "*-reserve")):
        os.remove(reserve)
    return Left(collector, spool, app.accepted, request.param)


class Left(object):
    def __init__(self, collector, spool, accepted, where):
        self.collector = collector
        self.spool = spool
        self.accepted = accepted
        (path,) = glob.glob(str(spool / "*.outbox"))
        self.damaged = path + "-wal" if where == "in the log" else path
        self.scope = os.path.basename(path).split("-")[0]
        self.marks = list(read_accepted([accepted]))

    def copy(self, target, damage):
        """Return a copy of the folder in which `damage(path)` was done to the file."""
        copy = copy_spool(self.spool, target)
        damage(os.path.join(str(copy), os.path.basename(self.damaged)))
        return copy


def cut_at(place):
    def cut(path):
        with open(path, "r+b") as stream:
            stream.truncate(place)
    return cut


def flip_at(place, count=1):
    def flip(path):
        with open(path, "r+b") as stream:
            stream.seek(place)
            flipped = bytearray(byte ^ 0xFF for byte in bytearray(stream.read(count)))
            stream.seek(place)
            stream.write(flipped)
    return flip


def what_comes_out(folder, scope):
    """Open a folder as a starting process does; return (marks, losses) of all it gives."""
    spool = Spool(str(folder), scope, False, Notices())
    outbox = Outbox(spool.claim(), 1 << 28, Notices())
    marks, session = [], None
    for entry in outbox.entries():
        session = entry.number
        record = outbox.head(session) or (
            outbox.heal(spool.replacement) and outbox.head(session))
        while record:
            if record.kind == records.EVENT:
                marks.append(mark_in(record))
            outbox.settle(record)
            record = outbox.head(session) or (
                outbox.heal(spool.replacement) and outbox.head(session))
    dropped = sum(entry.dropped for entry in outbox.entries())
    assert all(entry.waiting == 0 for entry in outbox.entries())
    if session is None:
        session = outbox.add_session("local-new", b"{}").number
    assert outbox.append(session, records.EVENT, b'{"name":"new"}')
    assert outbox.head(session).body == b'{"name":"new"}'
    outbox.close()
    return marks, dropped


def mark_in(record):
    return json.loads(record.body.decode("ascii"))["data"]["mark"]


@pytest.mark.parametrize("damage", [cut_at, flip_at], ids=["cut", "flipped"])
def test_damage_at_any_place_loses_some_and_makes_nothing_up(left, tmp_path, scaled, damage):
    """Accepted means kept: of a damaged file comes what was accepted, in order, each once."""
    size = os.path.getsize(left.damaged)
    # The last page may be one that nothing depends on any more.
    places = list(range(0, size, STEP))[::scaled(3, 1)]
    whole = 0
    for place in places:
        folder = left.copy(tmp_path / ("at-%d" % place), damage(place))
        marks, dropped = what_comes_out(folder, left.scope)
        assert marks == [mark for mark in left.marks if mark in set(marks)], place
        whole += len(marks) == RECORDS
        shutil.rmtree(str(folder))
    assert whole < len(places), "no damage did any harm"


def foreign(path):
    with open(path, "wb") as stream:
        stream.write(b"this is not a database, but somebody's letter" * 100)


def empty(path):
    with open(path, "wb"):
        pass


def newer(path):
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.commit()
    database.close()


@pytest.mark.parametrize("damage, kept", [
    (foreign, "corrupt"), (empty, None), (flip_at(0, 100), "corrupt"), (newer, "as it was"),
    (flip_at(8192, 20), None),
], ids=["not a database", "empty", "no header", "newer schema", "a page"])
def test_an_application_works_whatever_it_finds_in_its_folder(
        left, tmp_path, damage, kept):
    """Never in the way: no file stops an application; what is set aside is kept and warned of."""
    if left.damaged.endswith("-wal"):
        # What is in the log is whole then, and sqlite has the first page from there.
        left.damaged = left.damaged[:-len("-wal")]
        kept = None
    folder = left.copy(tmp_path / "damaged", damage)
    path = os.path.join(str(folder), os.path.basename(left.damaged))
    before = os.path.getsize(path)
    left.collector.start()
    with application(WORKS, tmp_path, left.collector.url, accepted=str(tmp_path / "new.jsonl"),
                     env={"DATACAT_SPOOL_DIR": str(folder)}) as app:
        app.wait(40)
    assert said(app, "flushed")[0]["flushed"] is True
    if kept == "corrupt":
        assert glob.glob(path + ".corrupt-*"), os.listdir(str(folder))
        assert len(warnings_of(app, "damaged")) == 1, app.output
    if kept == "as it was":
        assert os.path.getsize(path) == before
        assert len(warnings_of(app, "upgrade")) == 1, app.output
    check_invariants([app.accepted, left.accepted], left.collector.sessions(),
                     {"lost": RECORDS}, OWN)


WORKS = u"""
session = open_session(connect_wait=10)
recorder = recorder_of(session, "new")
for number in range(10):
    recorder.log_event("new", {"number": number})
say("flushed", flushed=session.flush(20))
time.sleep(1)
session.end(20)
"""


def test_a_cut_log_is_delivered_up_to_the_cut(left, tmp_path):
    """Never silent: the server gets what could be read, and nothing that was not sent."""
    folder = left.copy(tmp_path / "cut", cut_at(os.path.getsize(left.damaged) * 2 // 3))
    left.collector.start()
    accepted = [left.accepted]
    with application(WORKS, tmp_path, left.collector.url, accepted=str(tmp_path / "new.jsonl"),
                     env={"DATACAT_SPOOL_DIR": str(folder)}) as app:
        app.wait(40)
    report = check_invariants(accepted + [app.accepted], left.collector.sessions(),
                              {"lost": RECORDS - 1}, OWN)
    assert len(report.arrived) > 10
