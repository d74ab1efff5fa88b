"""A damaged outbox (12): what can be read is delivered, and no application is stopped."""

from __future__ import absolute_import, division

import glob
import os
import shutil
import sqlite3

import pytest
from tools.call_times import check_calls
from tools.host import (
    OWN,
    application,
    copy_spool,
    deliver_what_is_left,
    said,
    warnings_of,
)
from tools.invariants import check_invariants, read_accepted
from tools.left_behind import LeftBehind

from datacat.outbox import preparing

STEP = 512
RECORDS = 60
PAGE = preparing.PAGE_SIZE
# Behind the schema, the pointer map and the root page of the records.
FIRST_LEAF = 3 * PAGE
# A record's length, number and other columns come before its body.
ROW_HEADER = 36
# https://www.sqlite.org/fileformat2.html#walformat
LOG_HEADER, FRAME_HEADER = 32, 24

LEFT = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
for number in range(60):
    recorder.log_event("step", {"number": number, "text": "x" * (number % 7 * 50)})
if sys.argv[3] == "in the log":
    os.kill(os.getpid(), signal.SIGKILL)
# A close moves the write-ahead log into the database, however slow the disk is.
from datacat.process import pipeline
pipeline.LONGEST_CLOSE = 60.0
session.close(0.1)
while [name for name in os.listdir(os.environ["DATACAT_SPOOL_DIR"]) if name.endswith("-wal")]:
    time.sleep(0.01)
say("closed")
os._exit(0)
"""


@pytest.fixture(params=["in the log", "in the database"])
def left(request, make_collector, spool, tmp_path):
    """An application's outbox, with its records in the write-ahead log or in the database."""
    collector = make_collector().start()
    collector.stop()
    with application(
        LEFT, tmp_path, collector.url, (request.param,), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait(expect=None)
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

    def records_in(self, begin, end):
        """Return how many records are in a part of the file, by their bytes."""
        with open(self.damaged, "rb") as stream:
            part = stream.read()[begin:end]
        return sum(mark.encode("ascii") in part for mark in self.marks)

    def fewest_after(self, damage, place):
        """Return how many records damage at a place leaves at least.

        Those in the pages or frames before it; if one page of the database is flipped, also those
        in the pages after it.  One less, because a record may extend into the damaged page.
        """
        if self.damaged.endswith("-wal"):
            frame = PAGE + FRAME_HEADER
            whole = LOG_HEADER + (place - LOG_HEADER) // frame * frame
        else:
            whole = place // PAGE * PAGE
            if damage is flip_at and place >= FIRST_LEAF:
                return RECORDS - self.records_in(whole, whole + PAGE) - 1
        return self.records_in(0, max(0, whole)) - 1

    def copy(self, target, damage):
        """Return a copy of the folder, with its file changed by `damage(path)`."""
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
def test_damage_anywhere_costs_some_records_and_invents_none(left, quick_folder, damage):
    """Accepted means kept: what a damaged file still has is delivered in order, each once."""
    places = range(0, os.path.getsize(left.damaged), STEP)
    assert len(places) > 40
    harmed = sum(harm(left, damage, place, quick_folder) for place in places)
    # The others hit an old version of a page, or the last, empty one.
    assert harmed >= len(places) // 4, "%d of %d changed what was delivered" % (
        harmed,
        len(places),
    )


@pytest.mark.parametrize("left", ["in the database"], indirect=True)
def test_a_flipped_row_number_costs_no_other_records(left, quick_folder, scaled):
    """Accepted means kept: sqlite searches by row numbers, and a wrong one misleads it."""
    with open(left.damaged, "rb") as stream:
        content = stream.read()
    harmed = 0
    for mark in left.marks[:: scaled(20, 1)] + left.marks[-1:]:
        body = content.rindex(
            b"{", 0, content.rindex(b"{", 0, content.index(mark.encode("ascii") + b'"'))
        )
        harmed += sum(
            harm(left, flip_at, place, quick_folder) for place in range(body - ROW_HEADER, body)
        )
    assert harmed > 20


def harm(left, damage, place, folder):
    """Damage a copy, and check what a start makes of it; return whether anything is missing."""
    copy = left.copy(os.path.join(folder, str(place)), damage(place))
    found = LeftBehind(copy, left.scope)
    shutil.rmtree(copy)
    marks = [fields["data"]["mark"] for fields in found.events]
    assert marks == [mark for mark in left.marks if mark in set(marks)], place
    assert all(fields == left.fields[mark] for mark, fields in zip(marks, found.events))
    assert len(marks) >= left.fewest_after(damage, place), place
    check_counted(found)
    return len(marks) < RECORDS


def check_counted(found):
    """Never silent: every gap in the numbers is counted; only a missing tail cannot be."""
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


@pytest.mark.parametrize(
    "damage, kept",
    [
        (foreign, "corrupt"),
        (empty, None),
        (flip_at(0, 100), "corrupt"),
        (newer, "as it was"),
        (flip_at(8192, 20), None),
    ],
    ids=["not a database", "empty", "no header", "newer schema", "a page"],
)
def test_an_application_works_whatever_files_it_finds(left, tmp_path, damage, kept):
    """Never in the way: no file stops an application; a damaged one is kept, with a warning."""
    if left.damaged.endswith("-wal"):
        # The log is intact then, and sqlite takes the first page from it.
        left.damaged = left.damaged[: -len("-wal")]
        kept = None
    folder = left.copy(tmp_path / "damaged", damage)
    path = os.path.join(str(folder), os.path.basename(left.damaged))
    before = os.path.getsize(path)
    left.collector.start()
    with application(
        WORKS,
        tmp_path,
        left.collector.url,
        accepted=str(tmp_path / "new.jsonl"),
        env={"DATACAT_SPOOL_DIR": str(folder)},
    ) as app:
        app.wait(300)
    assert said(app, "flushed")[0]["flushed"] is True
    check_calls([app.accepted])
    if kept == "corrupt":
        assert glob.glob(path + ".corrupt-*"), os.listdir(str(folder))
        assert len(warnings_of(app, "damaged")) == 1, app.output
    if kept == "as it was":
        assert os.path.getsize(path) == before
        assert len(warnings_of(app, "upgrade")) == 1, app.output
    check_invariants(
        [app.accepted, left.accepted], left.collector.sessions(), {"lost": RECORDS}, OWN
    )


WORKS = u"""
session = open_session(connect_wait=60)
recorder = recorder_of(session, "new")
for number in range(10):
    recorder.log_event("new", {"number": number})
say("flushed", flushed=session.flush(120))
session.end(20)
"""


def test_a_cut_log_is_delivered_up_to_the_cut(left, tmp_path):
    """Never silent: the server gets what could be read, and nothing else."""
    place = os.path.getsize(left.damaged) * 2 // 3
    folder = left.copy(tmp_path / "cut", cut_at(place))
    left.collector.start()
    with application(
        WORKS,
        tmp_path,
        left.collector.url,
        accepted=str(tmp_path / "new.jsonl"),
        env={"DATACAT_SPOOL_DIR": str(folder)},
    ) as app:
        app.wait(300)
    fewest = left.fewest_after(cut_at, place)
    assert fewest > 5
    deliver_what_is_left(
        left.collector,
        [left.accepted, app.accepted],
        tmp_path,
        allow={"lost": RECORDS - fewest},
        spool=folder,
    )
