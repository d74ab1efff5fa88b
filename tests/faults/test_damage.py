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
    deliver_what_is_left,
    said,
    warnings_of,
)
from tools.invariants import check_invariants, read_accepted
from tools.left_behind import LeftBehind

from datacat.outbox import opening

STEP = 512
RECORDS = 60
PAGE = opening.PAGE_SIZE
# After the schema, the pointer map and the root page of the records.
FIRST_LEAF = 3 * PAGE
# Before its body a record has its length, its number and what is known of it.
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
    with application(
        LEFT, tmp_path, collector.url, (request.param,), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
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

    def records_in(self, begin, end):
        """Return how many records lie in a part of the file, by their bytes."""
        with open(self.damaged, "rb") as stream:
            part = stream.read()[begin:end]
        return sum(mark.encode("ascii") in part for mark in self.marks)

    def fewest_after(self, damage, place):
        """Return how many records damage at a place leaves for certain.

        Those in the pages or frames before it; after one flipped page of the database, of those
        that hold records, all others. One less, for its page or transaction may go beyond.
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
def test_damage_at_any_place_loses_some_and_makes_nothing_up(left, quick_folder, damage):
    """Accepted means kept: of a damaged file comes what was accepted, in order, each once."""
    places = range(0, os.path.getsize(left.damaged), STEP)
    assert len(places) > 40
    harmed = sum(harm(left, damage, place, quick_folder) for place in places)
    # The rest hit what nothing depends on: an old version of a page, or the last, empty one.
    assert harmed >= len(places) // 4, "%d of %d did harm" % (harmed, len(places))


@pytest.mark.parametrize("left", ["in the database"], indirect=True)
def test_a_flip_in_what_tells_a_records_number_loses_no_others(left, quick_folder, scaled):
    """Accepted means kept: sqlite finds rows by their numbers, and a wrong one leads it astray."""
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
    """Damage a copy of what is left, and check what comes of it; return whether it did harm."""
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
def test_an_application_works_whatever_it_finds_in_its_folder(left, tmp_path, damage, kept):
    """Never in the way: no file stops an application; what is set aside is kept and warned of."""
    if left.damaged.endswith("-wal"):
        # What is in the log is whole then, and sqlite has the first page from there.
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
        app.wait(40)
    assert said(app, "flushed")[0]["flushed"] is True
    check_bounds([app.accepted])
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
session = open_session(connect_wait=10)
recorder = recorder_of(session, "new")
for number in range(10):
    recorder.log_event("new", {"number": number})
say("flushed", flushed=session.flush(20))
session.end(20)
"""


def test_a_cut_log_is_delivered_up_to_the_cut(left, tmp_path):
    """Never silent: the server gets what could be read, and nothing that was not sent."""
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
        app.wait(40)
    fewest = left.fewest_after(cut_at, place)
    assert fewest > 5
    deliver_what_is_left(
        left.collector,
        [left.accepted, app.accepted],
        tmp_path,
        allow={"lost": RECORDS - fewest},
        spool=folder,
    )
