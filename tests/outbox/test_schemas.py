"""Outboxes of every released schema are migrated whole.

tests/data/outboxes has one file per schema, as a killed process left it (see make.py there).
"""

from __future__ import absolute_import, division

import os
import shutil

import pytest
from tools.outboxes import CAP, NAME, WHERE, Clock, Warnings, sql

from datacat.outbox import tables
from datacat.outbox.outbox import Outbox
from datacat.outbox.refusals import StoreDamaged
from datacat.outbox.spool import Spool
from datacat.outbox.store import Store
from datacat.records import kinds

RELEASED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "outboxes"
)
# When the files were written; dead letters go after thirty days.
WRITTEN = 1764115200.0
SCHEMAS = range(1, tables.SCHEMA_VERSION + 1)
OLDER = SCHEMAS[:-1]


def released(folder, schema):
    path = os.path.join(str(folder), NAME)
    shutil.copyfile(os.path.join(RELEASED, "schema-%d.outbox" % schema), path)
    return path


def test_there_is_a_file_for_every_schema():
    files = [name for name in os.listdir(RELEASED) if name.endswith(".outbox")]
    assert sorted(files) == ["schema-%d.outbox" % schema for schema in SCHEMAS]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_outbox_of_any_schema_is_opened_with_all_that_it_holds(tmp_path, schema):
    warnings = Warnings()
    outbox = Outbox(Store(released(tmp_path, schema)), CAP, warnings, wall=Clock(WRITTEN))
    one, two = outbox.entries()
    assert (one.local_id, one.server_id) == (u"local-released-1", u"server-1")
    assert (one.sent, one.dead, one.waiting) == (3, 1, 4)
    assert outbox.state(one) == b'{"a":{"b":1}}'
    assert [letter.status for letter in outbox.dead_letters()] == [400]
    assert outbox.notes()["process"] == "4711"
    waiting = []
    while outbox.head(one):
        waiting.append(outbox.head(one).kind)
        outbox.settle(one, outbox.head(one))
    assert waiting == [kinds.EVENT, kinds.METRIC, kinds.STATE, kinds.EXCEPTION]
    assert (two.server_id, two.goodbye, two.waiting) == (None, "ended", 3)
    assert outbox.append(one, kinds.EVENT, b"{}") and one.waiting == 1
    outbox.close()
    assert warnings.told == []
    store = Store(outbox.path)
    assert sql(store, "PRAGMA user_version") == [(tables.SCHEMA_VERSION,)]
    store.close()


@pytest.mark.parametrize("schema", OLDER)
def test_a_migration_that_is_interrupted_leaves_the_older_schema_whole(
    tmp_path, monkeypatch, schema
):
    path = released(tmp_path, schema)
    broken = dict(tables.MIGRATIONS)
    broken[schema] = tables.MIGRATIONS[schema][:-1] + ("SELECT no_such_column FROM records",)
    monkeypatch.setattr(tables, "MIGRATIONS", broken)
    with pytest.raises(StoreDamaged):
        Store(path)
    monkeypatch.undo()
    store = Store(path)
    assert [entry.waiting for entry in store.entries()] == [4, 3]
    store.close()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_damaged_file_of_an_older_schema_is_salvaged_with_its_sessions(tmp_path, schema):
    path = released(tmp_path, schema)
    with open(path, "r+b") as stream:
        content = stream.read()
        stream.seek(content.index(b'"never opened"'))
        stream.write(b"#")
        stream.seek(content.index(b"CREATE TABLE notes"))
        stream.write(b"CREATE TABLE nodes")
    warnings = Warnings()
    outbox = Outbox(Spool(str(tmp_path), WHERE, False, warnings).claim(), CAP, warnings)
    one, two = outbox.entries()
    assert (one.local_id, one.server_id, one.waiting) == (u"local-released-1", u"server-1", 4)
    assert two.local_id == u"local-released-2" and "damaged" in warnings.topics
    outbox.close()
