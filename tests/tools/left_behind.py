"""What a starting process finds in a folder of outboxes."""

from __future__ import absolute_import, division

import io
import json
import os
import sqlite3

from datacat.outbox.outbox import Outbox
from datacat.outbox.spool import Spool
from datacat.records import kinds
from datacat.scope import Scope
from tools.outboxes import CAP, MACHINE, Warnings


class LeftBehind(object):
    """Opens a folder as a starting process of a scope (its key) does, and drains it.

    events: the fields of the logged events, in order. dropped: how many were counted as lost.
    warnings: the topics of the warnings to the user.
    """

    def __init__(self, folder, scope):
        warnings = Warnings()
        self._spool = Spool(str(folder), Scope(scope, MACHINE, scope), False, warnings)
        self._outbox = Outbox(self._spool.claim(), CAP, warnings)
        self.events = []
        for entry in self._outbox.entries():
            self._take_out(entry)
        self.dropped = sum(entry.dropped for entry in self._outbox.entries())
        self._check_it_works()
        self.warnings = warnings.topics
        self._outbox.close()

    def _take_out(self, entry):
        record = self._head(entry)
        while record is not None:
            if record.kind == kinds.EVENT:
                self.events.append(json.loads(record.body.decode("ascii")))
            self._outbox.settle(entry, record)
            record = self._head(entry)
        assert entry.waiting == 0

    def _head(self, entry):
        head = self._outbox.head(entry)
        if head is None and self._outbox.upkeep.heal(self._spool.replacement):
            head = self._outbox.head(entry)
        return head

    def _check_it_works(self):
        session = self._outbox.add_session(u"local-new", b"{}")
        assert self._outbox.append(session, kinds.EVENT, b'{"name":"new"}')
        assert self._outbox.head(session).body == b'{"name":"new"}'


def lay_out(files, root, folder):
    """Write {path below root: bytes} into a new folder; return its path."""
    os.mkdir(str(folder))
    for path, content in files.items():
        target = os.path.join(str(folder), os.path.relpath(path, str(root)))
        if not os.path.isdir(os.path.dirname(target)):
            os.makedirs(os.path.dirname(target), 0o700)
        with io.open(target, "wb") as stream:
            stream.write(content)
    return str(folder)


def what_sqlite_finds(path):
    """Return sqlite's integrity check of a database file: "ok" if it is sound."""
    database = sqlite3.connect(path)
    try:
        return "; ".join(row[0] for row in database.execute("PRAGMA integrity_check"))
    finally:
        database.close()
