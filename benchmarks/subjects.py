"""What is measured and compared: datacat's session, raw sqlite, the peers.

Belongs here: creating each with the same record.  Does not: timing.
"""

from __future__ import absolute_import, division

import contextlib
import importlib
import json
import logging
import os
import shutil
import socket
import sqlite3
import tempfile
import time

import datacat

# Hides the warnings of measurements without a server.
logging.getLogger("datacat").addHandler(logging.NullHandler())

NAME = "order_placed"
DATA = {
    "order": 184467440737,
    "customer": "c-20419-7731",
    "total": 129.95,
    "channel": "shop/checkout/express/eu-central/desktop-ui",
}
METRIC = ("queue_depth", 1024.5, ["host:worker-17", "zone:eu"])
STATE = {"status": "running", "window": {"active": "editor"}, "documents": 3}

_held_ports = []


@contextlib.contextmanager
def folder():
    """A temporary folder."""
    path = tempfile.mkdtemp(prefix="datacat-benchmark-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def unused_url():
    """Return a base_url that refuses connections until a Sink listens there.

    This process keeps the port until it ends, so that nobody else gets it.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _held_ports.append(holder)
    return "http://127.0.0.1:%d" % holder.getsockname()[1]


@contextlib.contextmanager
def session(url=None, **options):
    """A session with a spool of its own, by default without a server."""
    with folder() as spool:
        options.setdefault("spool_dir", spool)
        opened = datacat.create_session(
            url or unused_url(), product="benchmark", version="1", **options
        )
        try:
            yield opened
        finally:
            opened.close(timeout=0)


def drained(opened, seconds=600, glance=0.002):
    """Wait until all is delivered, polling every `glance` seconds."""
    until = time.time() + seconds
    while opened.stats()["waiting"]:
        if time.time() > until:
            raise RuntimeError("not drained: %r" % opened.stats())
        time.sleep(glance)


class Floor(object):
    """The least that these parts can cost: `json.dumps` and one INSERT with raw sqlite3."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.execute = self.connection.execute
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            self.execute("PRAGMA " + pragma)
        self.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")

    def put(self, fields):
        """Store fields; they are on disk when this returns."""
        self.execute("INSERT INTO records (body) VALUES (?)", (json.dumps(fields),))


def event():
    """Return the fields of the event that all store: 150 bytes of JSON."""
    return {"name": NAME, "data": DATA}


def _litequeue(path, url):
    from litequeue import LiteQueue

    put = LiteQueue(os.path.join(path, "litequeue.db")).put
    return lambda: put(json.dumps(event()))


def _sentry(path, url):
    import sentry_sdk

    sentry_sdk.init(dsn=url.replace("//", "//key@") + "/1", default_integrations=False)
    return lambda: sentry_sdk.capture_event({"message": NAME, "extra": dict(DATA)})


def _posthog(path, url):
    import posthog

    capture = posthog.Posthog("key", host=url).capture
    return lambda: capture(NAME, distinct_id="benchmark", properties=dict(DATA))


PEERS = {"litequeue": _litequeue, "sentry-sdk": _sentry, "posthog": _posthog}


def installed_peers():
    """Return the names of the peers that can be imported."""
    found = []
    for name in sorted(PEERS):
        try:
            importlib.import_module(name.replace("-", "_"))
            found.append(name)
        except ImportError:
            continue
    return found
