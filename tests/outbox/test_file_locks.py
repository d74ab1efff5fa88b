"""A file system without locks: no outbox there, but a session like any other, and one warning."""

from __future__ import absolute_import, division

import os
import sys

import pytest
from tools.application import Application
from tools.preloaded import compiled

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux loads the tests' library"
)

LOGS = u"""
import logging, os, sys
import datacat
from datacat._compat import monotonic

warnings = []

class Kept(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())

logging.getLogger("datacat").addHandler(Kept())
session = datacat.create_session(connect_wait=60)
for number in range(20):
    session.log_event("step", {"number": number})
assert session.stats()["in_memory"] <= 20
assert session.flush(60)
assert len(warnings) == 1, warnings
assert "cannot be locked" in warnings[0] and "spool_dir=" in warnings[0]
assert "memory only" in warnings[0]
session.end(60)
"""


def test_without_locks_records_wait_in_memory_with_one_warning_and_no_file_is_left(
    fresh_collector, spool, tmp_path
):
    env = {
        "LD_PRELOAD": compiled("no_locks.c", tmp_path),
        "DATACAT_SPOOL_DIR": str(spool),
        "DATACAT_URL": fresh_collector.url,
    }
    with Application(LOGS, tmp_path, env=env) as app:
        app.wait()
    (listed,) = fresh_collector.sessions()
    there = fresh_collector.session(listed["id"])
    assert [event["data"]["number"] for event in there["events"]] == list(range(20))
    assert os.listdir(str(spool)) == []
