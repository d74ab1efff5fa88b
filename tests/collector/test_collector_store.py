"""The database keeps committed records in order, at a cost that does not grow."""

import os
import sqlite3
import threading

import pytest

from datacat.collector.store import EVENT, METRIC, Store, UnknownSession

AT = "2026-01-02T03:04:05Z"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "collector.db")


@pytest.fixture
def store(path):
    store = Store(path, "v1")
    yield store
    store.close()


def opened(store, session_id):
    with store.writing() as writer:
        writer.open(id=session_id, created_at=AT, updated_at=AT, state="{}")
        return writer.number(session_id)


def bodies(store, session, kind):
    with store.reading() as reader:
        return list(reader.bodies(session, kind))


def test_records_come_back_in_the_order_of_their_arrival_by_session_and_kind(store):
    first, second = opened(store, "first"), opened(store, "second")
    for number in range(1200):
        with store.writing() as writer:
            writer.add((first, second)[number % 2], (EVENT, METRIC)[number // 2 % 2], str(number))
    assert bodies(store, first, EVENT) == [str(n) for n in range(0, 1200, 4)]
    assert bodies(store, second, METRIC) == [str(n) for n in range(3, 1200, 4)]


def test_a_block_that_fails_changes_nothing(store):
    session = opened(store, "s")
    with pytest.raises(RuntimeError):
        with store.writing() as writer:
            writer.add(session, EVENT, "lost")
            raise RuntimeError()
    assert bodies(store, session, EVENT) == []


def test_a_reader_has_a_snapshot_and_blocks_no_writer(store):
    session = opened(store, "s")
    with store.reading() as reader:
        assert list(reader.bodies(session, EVENT)) == []
        with store.writing() as writer:
            writer.add(session, EVENT, "new")
        assert list(reader.bodies(session, EVENT)) == []
    assert bodies(store, session, EVENT) == ["new"]


def test_an_unknown_session_raises(store):
    for transaction in (store.reading, store.writing):
        with transaction() as verbs, pytest.raises(UnknownSession):
            verbs.find("no")


def test_a_commit_is_on_the_disk_before_it_returns(store):
    """WAL with synchronous=FULL (2): the log is synced by every commit."""
    with store.writing() as writer:
        run = writer._connection.exec_driver_sql
        assert run("PRAGMA journal_mode").scalar() == "wal"
        assert run("PRAGMA synchronous").scalar() == 2


def test_readers_cannot_write(store):
    with store.reading() as reader, pytest.raises(Exception, match="readonly"):
        reader._connection.exec_driver_sql("DELETE FROM sessions")


def test_a_write_to_a_large_session_costs_no_more_than_to_a_small_one(store, path):
    """Counts pages written to the log, which do not depend on the machine's load."""
    session = opened(store, "s")

    def log_size_of(count):
        before = os.path.getsize(path + "-wal")
        for _ in range(count):
            with store.writing() as writer:
                writer.add(writer.number("s"), EVENT, "x" * 100)
                writer.change(session, updated_at=AT)
        return os.path.getsize(path + "-wal") - before

    with store.writing() as writer:
        writer._connection.exec_driver_sql("PRAGMA wal_autocheckpoint=0").fetchall()
    small = log_size_of(50)
    with store.writing() as writer:
        for _ in range(20000):
            writer.add(session, EVENT, "x" * 100)
    assert log_size_of(50) <= 2 * small


def test_reading_a_session_reads_only_its_own_records(store):
    """Counts sqlite's own steps, which do not depend on the machine's load."""
    small, large = opened(store, "small"), opened(store, "large")
    with store.writing() as writer:
        for number in range(20000):
            writer.add(large, EVENT, str(number))
        writer.add(small, EVENT, "mine")
    steps = []
    with store.reading() as reader:
        connection = reader._connection.connection.driver_connection
        connection.set_progress_handler(lambda: steps.append(None), 100)
        assert list(reader.bodies(small, EVENT)) == ["mine"]
        connection.set_progress_handler(None, 0)
    assert len(steps) < 10


def test_many_threads_write_and_read_at_once(store):
    session, failures = opened(store, "s"), []

    def work(thread):
        try:
            for number in range(40):
                with store.writing() as writer:
                    writer.add(session, EVENT, f"{thread}:{number}")
                mine = [
                    body for body in bodies(store, session, EVENT) if body.startswith(f"{thread}:")
                ]
                assert mine == [f"{thread}:{n}" for n in range(number + 1)]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(bodies(store, session, EVENT)) == 12 * 40


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_only_the_owner_can_read_the_file_whatever_the_umask(path):
    before = os.umask(0)
    try:
        Store(path, "v1").close()
    finally:
        os.umask(before)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_without_a_name_the_file_is_in_the_user_s_state_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "platformdirs.user_state_path", lambda name, appauthor: tmp_path / "state" / name
    )
    Store(None, "classic").close()
    assert (tmp_path / "state" / "datacat" / "collector-classic.db").is_file()


def test_an_sqlalchemy_url_is_accepted(path):
    store = Store("sqlite:///" + path, "v1")
    session = opened(store, "s")
    store.close()
    again = Store(path, "v1")
    assert bodies(again, session, EVENT) == []
    again.close()


def test_a_file_that_is_not_a_database_is_refused_and_left_alone(path):
    with open(path, "wb") as stream:
        stream.write(b"a letter to grandmother" * 100)
    with pytest.raises(OSError, match="cannot use the database"):
        Store(path, "v1")
    with open(path, "rb") as stream:
        assert stream.read() == b"a letter to grandmother" * 100


def test_another_generation_s_or_layout_s_database_is_refused(path):
    Store(path, "v1").close()
    with pytest.raises(ValueError, match="classic"):
        Store(path, "classic")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE about SET value='99' WHERE name='layout'")
    connection.commit()
    connection.close()
    with pytest.raises(ValueError, match="99"):
        Store(path, "v1")


def test_a_password_in_the_url_is_not_shown():
    with pytest.raises(OSError) as raised:
        Store("nonsense://user:s3cret@host/db", "v1")
    assert "s3cret" not in str(raised.value) and "host" in str(raised.value)
