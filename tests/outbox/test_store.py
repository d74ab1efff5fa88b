"""One sqlite file: what it takes it returns whole, and damage is never taken for data."""

from __future__ import absolute_import, division

import gc
import os
import shutil
import sqlite3

import pytest
from tools.outboxes import NAME, sql

from datacat.outbox import replacing, tables
from datacat.outbox.refusals import NumberTaken, StoreDamaged, StoreHeld, StoreRefused, StoreTooNew
from datacat.outbox.store import Store
from datacat.outbox.tables import DeadLetter, Entry
from datacat.records import kinds


def event(number, body=b'{"name":"x"}', session=1, kind=kinds.EVENT):
    return kinds.Record(session, number, kind, body, 1700000000000000 + number)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / NAME)


@pytest.fixture
def store(path):
    opened = Store(path)
    opened.add_session(Entry(number=1, local_id=u"local-1", opening=b"{}", opened=5))
    yield opened
    opened.close()


def flip(path, at):
    with open(path, "r+b") as stream:
        stream.seek(at)
        byte = bytearray(stream.read(1))
        stream.seek(at)
        stream.write(bytearray([byte[0] ^ 0xFF]))


def close_unchecked(store, path):
    """Let the log go into the database, so that a test finds all bytes in one file."""
    store.checkpoint()
    store.close()


def test_a_record_comes_back_as_it_went_in(store):
    body = bytes(bytearray(range(256)))
    store.insert(tables.record_row(event(1, body)))
    assert store.page(1, 0) == ([event(1, body)], [])


def test_a_committed_record_is_in_a_copy_of_file_and_log(store, path, tmp_path):
    store.insert(tables.record_row(event(1)))
    other = tmp_path / "copy"
    other.mkdir()
    for ending in ("", "-wal"):
        with open(path + ending, "rb") as stream:
            (other / (NAME + ending)).write_bytes(stream.read())
    copy = Store(str(other / NAME))
    assert copy.page(1, 0) == ([event(1)], [])
    copy.close()


def test_a_page_is_in_order_and_bounded(store):
    store.insert_all([event(number, b"x" * 100) for number in range(1, 101)])
    found, _ = store.page(1, 10)
    assert [record.number for record in found] == list(range(11, 75))
    store.insert_all([event(number, b"x" * 200000, session=2) for number in (1, 2, 3)])
    assert len(store.page(2, 0)[0]) == 2


def test_a_number_is_given_once(store):
    store.insert(tables.record_row(event(1)))
    with pytest.raises(NumberTaken):
        store.insert(tables.record_row(event(1, b"other")))
    with pytest.raises(NumberTaken):
        store.insert_all([event(2), event(1, b"other")])
    assert store.page(1, 0) == ([event(1)], [])


def test_what_is_settled_is_gone_in_one_step_with_its_count(store):
    entry = store.entries()[0]
    store.insert_all([event(1), event(2)])
    entry.sent, entry.accepted = 1, 2
    entry.position = 1
    store.save(entry, state=b'{"a":1}')
    assert store.page(1, 0)[0] == [event(2)]
    assert store.entries()[0].sent == 1 and store.state(1) == b'{"a":1}'
    store.save(entry, state=b"")
    assert store.state(1) is None


def test_a_transaction_that_fails_changes_nothing(store):
    entry = store.entries()[0]
    store.insert(tables.record_row(event(1)))
    entry.sent = object()
    with pytest.raises(StoreRefused):
        entry.position = 1
        store.save(entry)
    assert store.page(1, 0)[0] == [event(1)]
    store.insert(tables.record_row(event(2)))


def test_accepted_is_what_the_records_prove(store):
    store.insert_all([event(1), event(2)])
    assert store.entries()[0].accepted == 2


def test_uncounted_records_are_counted(store):
    """A flipped count must not make records invisible, for then the file would be deleted."""
    entry = store.entries()[0]
    entry.gone = entry.sent = entry.accepted = 9
    store.save(entry)
    store.insert_all([event(3), event(4)])
    assert store.entries()[0].waiting == 2


def test_dead_letters_are_bounded_by_age_and_size_oldest_first(store):
    entry = store.entries()[0]
    for number in range(1, 6):
        letter = DeadLetter(event(number, b"x" * 100), 400, u"no \xe9", number * 10)
        store.save(entry, burying=letter)
    assert store.dead_letters()[4] == letter
    store.forget_dead(before=20, max_bytes=1000)
    assert [letter.buried for letter in store.dead_letters()] == [20, 30, 40, 50]
    store.forget_dead(before=0, max_bytes=250)
    assert [letter.buried for letter in store.dead_letters()] == [40, 50]


@pytest.mark.parametrize("words", [b"caf\xe9", u"\ud800 alone", u"\u20ac", None])
def test_a_servers_words_are_kept_whatever_they_are(store, words):
    store.save(store.entries()[0], burying=DeadLetter(event(1), 400, words, 10))
    assert len(store.dead_letters()) == 1


def test_a_file_in_use_is_held(store, path):
    with pytest.raises(StoreHeld):
        Store(path)


def test_a_newer_schema_is_left_alone(store, path):
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with open(path, "rb") as stream:
        before = stream.read()
    with pytest.raises(StoreTooNew):
        Store(path)
    with open(path, "rb") as stream:
        assert stream.read() == before


@pytest.mark.parametrize("content", [b"not a database" * 100, b"x" * 700])
def test_a_file_that_is_not_a_database_is_damaged(path, content):
    with open(path, "wb") as stream:
        stream.write(content)
    with pytest.raises(StoreDamaged):
        Store(path)


def test_another_programs_database_is_damaged_not_used(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE records (x)")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreDamaged):
        Store(path)


def test_an_empty_file_becomes_an_outbox(path):
    open(path, "wb").close()
    store = Store(path)
    assert store.entries() == []
    store.close()


def test_a_flipped_byte_in_a_body_is_noticed(store, path):
    store.insert_all([event(number, b"body-%d" % number * 5) for number in (1, 2, 3)])
    close_unchecked(store, path)
    with open(path, "rb") as stream:
        flip(path, stream.read().index(b"body-2"))
    damaged = Store(path)
    pages = [damaged.page(1, after) for after in (0, 1)]
    found = [([record.number for record in records], numbers) for records, numbers in pages]
    assert found == [([1], []), ([3], [2])]
    damaged.close()


def test_a_flipped_byte_in_a_state_makes_it_unknown(store, path):
    store.save(store.entries()[0], state=b'{"state":"of things"}')
    close_unchecked(store, path)
    with open(path, "rb") as stream:
        flip(path, stream.read().index(b"of things"))
    damaged = Store(path)
    assert damaged.state(1) == b"null"
    damaged.close()


def test_no_flipped_byte_is_taken_for_data_or_raises_anything_unexpected(path):
    """Every 37th byte of a file, flipped: each record read is one that was written."""
    written = [event(number, b"body-%03d" % number * 9) for number in range(1, 31)]
    store = Store(path)
    store.add_session(Entry(number=1, local_id=u"local-1", opening=b"{}", opened=5))
    store.insert_all(written)
    close_unchecked(store, path)
    with open(path, "rb") as stream:
        whole = stream.read()
    complete = 0
    for at in range(0, len(whole), 37):
        with open(path, "wb") as stream:
            stream.write(whole)
        flip(path, at)
        intact = read_all(path)
        assert set(intact) <= set(written), at
        complete += len(intact) >= len(written) - 1
    assert complete > len(whole) // 37 * 0.5


@pytest.mark.parametrize("file", ["", "-wal"])
def test_no_cut_is_taken_for_data_or_raises_anything_unexpected(tmp_path, path, file):
    """The file or its log, cut at every 512th byte."""
    written = [event(number, b"body-%03d" % number * 9) for number in range(1, 31)]
    store = Store(path)
    store.insert_all(written[:15])
    store.checkpoint()
    for record in written[15:]:
        store.insert(tables.record_row(record))
    contents = {}
    for ending in ("", "-wal"):
        with open(path + ending, "rb") as stream:
            contents[ending] = stream.read()
    store.close()
    found = []
    for length in range(0, len(contents[file]), 512):
        for ending, content in contents.items():
            with open(path + ending, "wb") as stream:
                stream.write(content[:length] if ending == file else content)
        intact = read_all(path)
        assert set(intact) <= set(written)
        found.append(len(intact))
    assert max(found) >= 15 and found == sorted(found) if file else found


def read_all(path):
    try:
        store = Store(path)
        try:
            store.probe()
            return store.page(1, 0)[0]
        except StoreDamaged:
            return store.salvage()[2]
        finally:
            store.close()
    except (StoreDamaged, StoreTooNew):
        pass
    try:
        store = Store(path, as_it_is=True)
    except StoreDamaged:
        return []
    try:
        return store.salvage()[2]
    finally:
        store.close()


def test_salvage_makes_up_a_session_for_records_without_one(store, path, tmp_path):
    opening = b'{"product":"p","version":"1"}'
    store.insert_all([event(3, session=7), event(1, opening, session=8, kind=kinds.OPEN)])
    entries, _, intact, _ = store.salvage()
    assert [entry.number for entry in entries] == [1, 7, 8]
    assert entries[1].waiting == 1 and entries[1].unreported == 2
    assert entries[2].opening == opening and entries[2].waiting == 1
    fresh = Store(str(tmp_path / "fresh"))
    replacing.refill(fresh, store.salvage())
    assert fresh.page(7, 0)[0] == [event(3, session=7)]
    assert [entry.waiting for entry in fresh.entries()] == [0, 1, 1]
    fresh.close()


def test_a_deleted_file_is_noticed(store, path):
    inode = os.stat(path).st_ino
    assert store.is_still_there(inode)
    os.rename(path + "-wal", path + "-gone")
    assert not store.is_still_there(inode)
    os.rename(path + "-gone", path + "-wal")
    os.remove(path)
    assert not store.is_still_there(inode)


def test_a_drained_file_shrinks(store, path):
    entry = store.entries()[0]
    store.insert_all([event(number, b"x" * 1000) for number in range(1, 2001)])
    store.checkpoint()
    large = os.path.getsize(path)
    entry.position = 2000
    store.settle_all([entry], {}, (), ())
    assert store.shrink(100)
    assert not store.shrink(100000)
    store.checkpoint()
    assert large > 2000000 and os.path.getsize(path) < 100000


def test_a_session_number_is_not_reused_while_anything_has_it(store):
    assert store.last_session() == 1
    store.insert(tables.record_row(event(1, session=4)))
    assert store.last_session() == 4


def test_a_row_of_a_session_that_makes_no_sense_is_damage(store):
    sql(store, "UPDATE sessions SET sent = 'many'")
    with pytest.raises(StoreDamaged):
        store.entries()


def test_a_connection_outlives_every_reference_to_it_until_it_is_closed(tmp_path):
    """A forked child that merely drops it must not close it, and with it the parent's log."""
    path = str(tmp_path / NAME)
    store = Store(path)
    store.insert(tables.record_row(event(1)))
    store.abandon()
    del store
    gc.collect()
    copy = str(tmp_path / "copy")
    for ending in ("", "-wal"):
        shutil.copyfile(path + ending, copy + ending)
    assert Store(copy).page(1, 0) == ([event(1)], [])


def test_a_records_digits_come_back_and_a_flip_in_them_is_noticed():
    for kind in tables.KINDS:
        for digits in (0, 1, 999):
            one = kinds.Record(1, 2, kind, b"{}", 3, digits)
            row = tables.record_row(one)
            assert tables.record_of(row) == one and tables.kind_of(row[1]) == kind
            assert tables.record_of((row[0], row[1] ^ 0x100) + row[2:]) is None


def test_a_row_of_no_known_kind_is_none():
    for code in (99, 0xFF, None, b"x"):
        assert tables.kind_of(code) is None
