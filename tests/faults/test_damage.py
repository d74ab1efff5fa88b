"""A damaged outbox (12): what can be read is delivered, nothing false, and nobody is stopped."""
from __future__ import absolute_import, division

import glob
import os
import shutil
import sqlite3

import pytest
from tools.call_times import check_bounds
from tools.host import (
    OWN,
    application,
    copy_spool,
    said,
    warnings_of,
)
from tools.invariants import check_invariants, read_accepted
from tools.left_behind import LeftBehind

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
        calls = read_accepted([accepted])
        self.marks = list(calls)
        self.fields = dict((mark, call.fields) for mark, call in calls.items())

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


@pytest.mark.parametrize("damage", [cut_at, flip_at], ids=["cut", "flipped"])
def test_damage_at_any_place_loses_some_and_makes_nothing_up(
        left, quick_folder, damage):
    """Accepted means kept: of a damaged file comes what was accepted, in order, each once."""
    size = os.path.getsize(left.damaged)
    places = range(0, size, STEP)
    assert len(places) > 40
    harmed = 0
    for place in places:
        folder = left.copy(os.path.join(quick_folder, str(place)), damage(place))
        found = LeftBehind(folder, left.scope)
        marks = [fields["data"]["mark"] for fields in found.events]
        assert marks == [mark for mark in left.marks if mark in set(marks)], place
        assert all(fields == left.fields[mark] for mark, fields in zip(marks, found.events))
        harmed += len(marks) < RECORDS
        check_counted(found)
        shutil.rmtree(folder)
    # The rest hit what nothing depends on: an old version of a page, or the last, empty one.
    assert harmed >= len(places) // 4, "%d of %d did harm" % (harmed, len(places))


def check_counted(found):
    """Never silent: each gap in the numbers is counted, and only a tail cannot be."""
    last = found.events[-1]["data"]["number"] if found.events else -1
    assert found.dropped >= last + 1 - len(found.events)
    assert found.dropped <= RECORDS + 1 - len(found.events)


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
    check_bounds([app.accepted])
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
