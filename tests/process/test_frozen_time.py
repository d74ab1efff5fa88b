"""Time frozen by a library for tests: waits end, and records arrive with the time as frozen."""

from __future__ import absolute_import, division

import pytest
from tools import held
from tools.application import Application
from tools.waiting import PATIENCE

# Frozen before the import, or only afterwards; a session loads the rest of the library.
FROZEN = {
    "before the import": u"""
import sys
from freezegun import freeze_time
freezer = freeze_time("2020-02-02 02:02:02")
freezer.start()
import datacat
""",
    "after the import": u"""
import sys
from freezegun import freeze_time
import datacat
freezer = freeze_time("2020-02-02 02:02:02")
freezer.start()
""",
    "after a session": u"""
import sys
from freezegun import freeze_time
import datacat
datacat.create_session(connect_wait=0).close(timeout=0)
freezer = freeze_time("2020-02-02 02:02:02")
freezer.start()
""",
}

WAITS = u"""
session = datacat.create_session(connect_wait=0.1, timeout=600, deadline=600)
session.log_event("frozen")
assert not session.flush(0.2)
session.close(0.2)
"""

DELIVERS = u"""
session = datacat.create_session(connect_wait=60)
session.log_event("frozen")
assert session.flush(60)
print(session.session_id)
"""


@pytest.mark.parametrize("when", sorted(FROZEN))
def test_waits_for_a_silent_server_end_while_time_is_frozen(
    when, fresh_collector, before, spool, tmp_path
):
    proxy = before(fresh_collector)
    proxy.black_hole()
    env = {"DATACAT_SPOOL_DIR": str(spool), "DATACAT_URL": proxy.url}
    with Application(FROZEN[when] + WAITS, tmp_path, env=env) as app:
        app.wait(PATIENCE)


@pytest.mark.parametrize("when", sorted(FROZEN))
def test_what_is_logged_while_time_is_frozen_arrives_with_that_time(
    when, collector, spool, tmp_path
):
    env = {"DATACAT_SPOOL_DIR": str(spool), "DATACAT_URL": collector.url}
    with Application(FROZEN[when] + DELIVERS, tmp_path, env=env) as app:
        app.wait()
        there = collector.session(app.output.split()[-1])
    assert held.event(there, "frozen")["timestamp"].startswith("2020-02-02T02:02:0")


TICKS = u"""
import logging, sys
import datacat
from freezegun import freeze_time
session = datacat.create_session(connect_wait=0)
logging.basicConfig(stream=sys.stdout)
with freeze_time("2020-02-02 02:02:02", auto_tick_seconds=15):
    for _ in range(3):
        session.log_event("ticking")
"""


def test_a_frozen_clock_that_ticks_at_each_call_makes_no_disk_slow(spool, tmp_path):
    env = {"DATACAT_SPOOL_DIR": str(spool), "DATACAT_URL": "http://127.0.0.1:9"}
    with Application(TICKS, tmp_path, env=env) as app:
        app.wait()
        assert "is slow" not in app.output
