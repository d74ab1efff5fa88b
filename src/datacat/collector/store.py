"""The collector's database.

Belongs here: all of its SQL.  Does not: what the API means.

A session is one row.  Each event, metric and state of its history is one row of `records`, with
the text to answer, so that a write costs the same however large the session is.  Writers share
one connection (before sqlite 3.51.3, two that write or checkpoint at once can corrupt the WAL);
readers have their own, each with a snapshot.  Only one process at a time may use an sqlite file.
"""

import contextlib
import os

import platformdirs
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

EVENT, METRIC, STATE = "event", "metric", "state"
LAYOUT = "1"

# How many rows to fetch at a time, so that a large session does not take much memory.
_PAGE = 500
_READERS = 8
# FULL syncs the log at each commit, so that what was answered with 200 survives a power cut.
# NORMAL would sync at the next checkpoint only.
_WRITER_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000")
_READER_PRAGMAS = ("query_only=ON", "busy_timeout=30000")

_LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_TIME = sa.String(40)
_TABLES = sa.MetaData()
_about = sa.Table(
    "about",
    _TABLES,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)
_sessions = sa.Table(
    "sessions",
    _TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("updated_at", _TIME, nullable=False),
    sa.Column("ended_at", _TIME),
    sa.Column("last_heartbeat", _TIME),
    sa.Column("heartbeat_nanoseconds", sa.BigInteger),
    sa.Column("crashed", sa.Boolean, nullable=False, default=False),
    sa.Column("hung", sa.Boolean, nullable=False, default=False),
    sa.Column("machine_id", _LONG, nullable=False, default=""),
    sa.Column("hostname", _LONG, nullable=False, default=""),
    sa.Column("state", _LONG, nullable=False),
)
_records = sa.Table(
    "records",
    _TABLES,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("session", sa.ForeignKey("sessions.number"), nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("body", _LONG, nullable=False),
    sa.Index("records_in_order", "session", "kind", "number"),
)

_FIND = sa.select(_sessions).where(_sessions.c.id == sa.bindparam("session_id"))
_NUMBER = sa.select(_sessions.c.number).where(_sessions.c.id == sa.bindparam("session_id"))
_ALL = sa.select(_sessions).order_by(_sessions.c.number)
_BODIES = (
    sa.select(_records.c.body)
    .where(_records.c.session == sa.bindparam("session"), _records.c.kind == sa.bindparam("kind"))
    .order_by(_records.c.number)
)
_SUSPENDED = (
    sa.select(_sessions.c.number)
    .where(
        _sessions.c.machine_id == sa.bindparam("machine_id"),
        _sessions.c.heartbeat_nanoseconds < sa.bindparam("before"),
        _sessions.c.ended_at.is_(None),
        ~_sessions.c.crashed,
    )
    .order_by(_sessions.c.number)
)
_CHANGE = _sessions.update().where(_sessions.c.number == sa.bindparam("session"))
_ADD = _records.insert()
_OPEN = _sessions.insert()


class UnknownSession(LookupError):
    """There is no session with this id."""


class Store(object):
    """The database of one collector.  Thread-safe.

    :param db: a file or an SQLAlchemy URL (string), None for a file in the user's state folder.
    :param generation: "v1" or "classic"; a database belongs to one of them for good.
    :raises OSError: if the database cannot be used.
    :raises ValueError: if it belongs to the other generation, or `db` is invalid.
    """

    def __init__(self, db, generation):
        url = _url(db, generation)
        self.name = url.render_as_string(hide_password=True)
        try:
            self._writer, self._reader = _engines(url)
        except (ImportError, sa.exc.ArgumentError) as problem:
            raise OSError(f"cannot use the database {self.name}: {problem}") from problem
        try:
            self._prepare({"layout": LAYOUT, "generation": generation})
        except sa.exc.SQLAlchemyError as problem:
            self.close()
            reason = getattr(problem, "orig", None) or problem
            raise OSError(f"cannot use the database {self.name}: {reason}") from problem
        except ValueError:
            self.close()
            raise

    def _prepare(self, facts):
        """Create the tables and note what they are for, or check what an older run noted."""
        with self._writer.begin() as connection:
            _TABLES.create_all(connection)
            held = {row.name: row.value for row in connection.execute(sa.select(_about))}
            if not held:
                connection.execute(
                    _about.insert(),
                    [{"name": name, "value": value} for name, value in facts.items()],
                )
            elif held != facts:
                raise ValueError(
                    f"the database {self.name} was made for {held}, not {facts}: "
                    "choose another with --db"
                )

    @contextlib.contextmanager
    def writing(self):
        """Yield a Writer in a transaction that is committed, and durable, after the block."""
        with self._writer.begin() as connection:
            yield Writer(connection)

    @contextlib.contextmanager
    def reading(self):
        """Yield a Reader with a snapshot of the database."""
        with self._reader.connect() as connection:
            yield Reader(connection)

    def close(self):
        """Close all connections; the store cannot be used afterwards."""
        self._reader.dispose()
        self._writer.dispose()


class Writer(object):
    """What one writing transaction can do."""

    def __init__(self, connection):
        self._connection = connection

    def open(self, **columns):
        """Add a session."""
        self._connection.execute(_OPEN, columns)

    def find(self, session_id):
        """Return the session's row; raises UnknownSession."""
        return _found(self._connection.execute(_FIND, {"session_id": session_id}).first())

    def number(self, session_id):
        """Return the session's number in the tables; raises UnknownSession."""
        return _found(self._connection.execute(_NUMBER, {"session_id": session_id}).first())[0]

    def add(self, session, kind, body):
        """Append a record to the session with this number.

        :param kind: EVENT, METRIC or STATE.
        :param body: the record's JSON (string).
        """
        self._connection.execute(_ADD, {"session": session, "kind": kind, "body": body})

    def change(self, session, **columns):
        """Set columns of the session with this number."""
        self._connection.execute(_CHANGE, dict(columns, session=session))

    def suspended(self, machine_id, before):
        """Return the numbers of a machine's live sessions whose heartbeats have stopped.

        :param before: nanoseconds since the epoch; the last heartbeat was earlier.
        """
        return (
            self._connection.execute(_SUSPENDED, {"machine_id": machine_id, "before": before})
            .scalars()
            .all()
        )


class Reader(object):
    """What one reading transaction can do."""

    def __init__(self, connection):
        self._connection = connection

    def find(self, session_id):
        """Return the session's row; raises UnknownSession."""
        return _found(self._connection.execute(_FIND, {"session_id": session_id}).first())

    def sessions(self):
        """Return the rows of all sessions, in the order of their creation."""
        return self._connection.execute(_ALL).all()

    def bodies(self, session, kind):
        """Return an iterator over the bodies of a session's records of one kind, in order."""
        return self._connection.execute(
            _BODIES, {"session": session, "kind": kind}, execution_options={"yield_per": _PAGE}
        ).scalars()


def _found(row):
    if row is None:
        raise UnknownSession()
    return row


def _url(db, generation):
    if db is None:
        folder = platformdirs.user_state_path("datacat", appauthor=False)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = str(folder / f"collector-{generation}.db")
    if "://" not in db:
        return sa.URL.create("sqlite", database=_private_file(db))
    try:
        url = sa.make_url(db)
    except sa.exc.ArgumentError as problem:
        raise ValueError(f"not an SQLAlchemy URL: {problem}") from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError(
            "a database in memory would lose what the collector has answered with 200: "
            "name a file"
        )
    return url


def _private_file(path):
    """Create a file that only its owner can read, whatever the umask; return its path."""
    path = os.path.abspath(os.path.expanduser(path))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    return path


def _engines(url):
    """Return the writers' engine and the readers'; writers queue for a pool of one connection."""
    sqlite = url.get_backend_name() == "sqlite"
    # A database server may have closed an idle connection; sqlite does not.
    writer = sa.create_engine(
        url, pool_size=1, max_overflow=0, pool_timeout=60, pool_pre_ping=not sqlite
    )
    reader = sa.create_engine(url, pool_size=_READERS, pool_pre_ping=not sqlite)
    if sqlite:
        _set_up_sqlite(writer, _WRITER_PRAGMAS, "BEGIN IMMEDIATE")
        _set_up_sqlite(reader, _READER_PRAGMAS, "BEGIN")
    return writer, reader


def _set_up_sqlite(engine, pragmas, begin):
    """Let SQLAlchemy begin transactions, instead of Python's sqlite3."""

    @sa.event.listens_for(engine, "connect")
    def connected(connection, _record):
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @sa.event.listens_for(engine, "begin")
    def begun(connection):
        connection.exec_driver_sql(begin)
