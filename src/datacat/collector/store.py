"""What the collector keeps, in tables: all of its SQL, and nothing of what the API says.

A session is one row, and each event, metric and state of its history is one row of `records`,
holding the text that is answered later: writing costs the same however large the session is.
Writers take turns for the one connection that writes (two that write or checkpoint one WAL at
the same time can damage it, as sqlite had it before 3.51.3); readers have connections of their
own, each with a snapshot. One process may use an sqlite file at a time.
"""

import contextlib
import os

import platformdirs
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

EVENT, METRIC, STATE = "event", "metric", "state"
LAYOUT = "1"

# Rows fetched at a time while a session is answered: its size must not become memory.
_PAGE = 500
_READERS = 8
# WAL with FULL: a commit returns when the system says that the log is on the disk, so that what
# was answered with 200 survives a power cut too. NORMAL would leave that to the next checkpoint.
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
    """The database of one collector; safe to use from many threads.

    `db` is a file, an SQLAlchemy URL, or None for a file in the user's state folder.
    `generation` is what the records in it are written for: a database keeps to one.
    Raises OSError when the database cannot be used, ValueError when it is not this generation's.
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
        """Make what is missing and note what the database holds, or refuse what it holds."""
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
                    f"the database {self.name} holds {held}, not {facts}: "
                    "give another one with --db"
                )

    @contextlib.contextmanager
    def writing(self):
        """A Writer in a transaction of its own: committed and durable when the block is left."""
        with self._writer.begin() as connection:
            yield Writer(connection)

    @contextlib.contextmanager
    def reading(self):
        """A Reader that sees one moment of the database."""
        with self._reader.connect() as connection:
            yield Reader(connection)

    def close(self):
        """Give back the connections; the store cannot be used afterwards."""
        self._reader.dispose()
        self._writer.dispose()


class Writer(object):
    """The verbs of one writing transaction."""

    def __init__(self, connection):
        self._connection = connection

    def open(self, **columns):
        """Add a session."""
        self._connection.execute(_OPEN, columns)

    def find(self, session_id):
        """The session's row; raises UnknownSession."""
        return _found(self._connection.execute(_FIND, {"session_id": session_id}).first())

    def number(self, session_id):
        """The session's number in the tables; raises UnknownSession."""
        return _found(self._connection.execute(_NUMBER, {"session_id": session_id}).first())[0]

    def add(self, session, kind, body):
        """Append a record's text to the session with that number."""
        self._connection.execute(_ADD, {"session": session, "kind": kind, "body": body})

    def change(self, session, **columns):
        """Set columns of the session with that number."""
        self._connection.execute(_CHANGE, dict(columns, session=session))

    def suspended(self, machine_id, before):
        """Numbers of this machine's living sessions whose heartbeats stopped before that time."""
        return (
            self._connection.execute(_SUSPENDED, {"machine_id": machine_id, "before": before})
            .scalars()
            .all()
        )


class Reader(object):
    """The verbs of one reading transaction."""

    def __init__(self, connection):
        self._connection = connection

    def find(self, session_id):
        """The session's row; raises UnknownSession."""
        return _found(self._connection.execute(_FIND, {"session_id": session_id}).first())

    def sessions(self):
        """All sessions' rows, in the order of their creation."""
        return self._connection.execute(_ALL).all()

    def bodies(self, session, kind):
        """The texts of one kind of records in the order of their arrival, a page at a time."""
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
            "the collector keeps what it answers with 200; "
            "a database in memory keeps nothing: give a file"
        )
    return url


def _private_file(path):
    """Create the file readable for its owner alone, whatever the umask."""
    path = os.path.abspath(os.path.expanduser(path))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    return path


def _engines(url):
    """An engine for the writers, whose pool of one connection is their queue, and the readers'."""
    sqlite = url.get_backend_name() == "sqlite"
    # A database server may have closed an idle connection; a file never does.
    writer = sa.create_engine(
        url, pool_size=1, max_overflow=0, pool_timeout=60, pool_pre_ping=not sqlite
    )
    reader = sa.create_engine(url, pool_size=_READERS, pool_pre_ping=not sqlite)
    if sqlite:
        _set_up_sqlite(writer, _WRITER_PRAGMAS, "BEGIN IMMEDIATE")
        _set_up_sqlite(reader, _READER_PRAGMAS, "BEGIN")
    return writer, reader


def _set_up_sqlite(engine, pragmas, begin):
    """Let SQLAlchemy, not Python's sqlite3, say when a transaction begins, and how."""

    @sa.event.listens_for(engine, "connect")
    def connected(connection, _record):
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @sa.event.listens_for(engine, "begin")
    def begun(connection):
        connection.exec_driver_sql(begin)
