"""Running totals (8): a kill loses what was counted since they were last written, and no more."""

from __future__ import absolute_import, division

import os
import signal

from tools import held
from tools.host import NEXT_RUN, application, await_word, tell
from tools.waiting import wait_until

COUNTS = u"""
quick, slow = open_session(aggregate_seconds=0.05), open_session(aggregate_seconds=1000)
quick.log_event("quick")
slow.log_event("slow")
assert quick.flush(120) and slow.flush(120)
say("opened")
wait_for("gone")
for _ in range(7):
    quick.log_counter("c")
slow.log_counter("c", 5)
slow.flush(0)
slow.log_counter("c", 3)
# One record each: only the keeper writes that of the first.
while quick.stats()["waiting"] < 1:
    time.sleep(0.01)
assert slow.stats()["waiting"] == 1
say("counted")
wait_for("never")
"""


def totals(server):
    """Return {name of a session's first event: the values of its totals}."""
    there = [server.session(listed["id"]) for listed in server.sessions()]
    return dict(
        (held.names(each)[0], [total["value"] for total in each["metrics"] or ()])
        for each in there
        if each["metrics"]
    )


def test_a_kill_loses_what_was_counted_since_the_totals_were_written(own_server, spool, tmp_path):
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    with application(COUNTS, tmp_path, own_server.url, env=env) as app:
        await_word(app, "opened")
        own_server.stop()
        tell(tmp_path, "gone")
        await_word(app, "counted")
        assert app.kill() == -signal.SIGKILL
    own_server.start()
    workplace = tmp_path / "next-run"
    workplace.mkdir()
    with application(NEXT_RUN, workplace, own_server.url, env=env) as run:
        await_word(run, "up")
        wait_until(lambda: len(totals(own_server)) == 2)
        tell(workplace, "finish")
        run.wait()
    assert totals(own_server) == {"quick": [7], "slow": [5]}


def test_what_a_reopened_session_counts_next_brings_the_whole_total(own_server, open_session):
    """The server has lost its data, the earlier totals included."""
    session = open_session(own_server.url, aggregate_seconds=1000)
    session.log_counter("c", 3)
    assert session.flush(120)
    own_server.kill()
    for suffix in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(own_server.db + suffix):
            os.remove(own_server.db + suffix)
    own_server.start()
    session.log_counter("c")
    assert session.flush(120)
    assert totals(own_server) == {"session_reopened": [4]}
