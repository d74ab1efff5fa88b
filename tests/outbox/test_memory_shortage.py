"""Without memory: calls return, losses are counted, nothing arrives twice."""

from __future__ import absolute_import, division

import json
import re
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="RLIMIT_AS is not kept everywhere"
)

# All of the memory is taken before it logs; what each call needs is more than is left.
STARVED = u"""
import datacat, json, resource
session = datacat.create_session()
for number in range(20):
    session.log_event("before")
assert session.flush(60)
text = "x" * 900000
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
with open("/proc/self/statm") as stream:
    soft = int(stream.read().split()[0]) * 4096 + (1 << 19)
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
hoard, felt, raised = [], 0, []
for size in (500000, 100000, 4000):
    try:
        while True:
            hoard.append(bytearray(size))
    except MemoryError:
        felt += 1
# What a log call needs is more than what is left for the rest of this program.
del hoard[-20:]
for number in range(50):
    try:
        session.log_event("starved", {"text": text})
        session.update_state({"text": text})
    except BaseException as error:
        raised.append(type(error).__name__)
del hoard
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
session.log_event("after")
flushed = session.flush(120)
print("TOLD " + json.dumps([felt, raised, flushed, session.stats()]))
session.end(60)
"""


def test_a_log_call_without_memory_returns_and_its_loss_is_counted_and_reported(
    run_program, fresh_collector
):
    """Never in the way, never silent: a report says how many records had no memory."""
    # With more than one arena the C library finds room in those of other threads.
    app = run_program(STARVED, fresh_collector.url, MALLOC_ARENA_MAX="1")
    line = app.wait_for_line(re.compile(u"^TOLD (.*)$", re.MULTILINE), 300)
    app.wait()
    felt, raised, flushed, stats = json.loads(line.group(1))
    assert felt == 3, "the limit was not felt"
    assert raised == [] and flushed
    assert stats["dropped"] > 0 and stats["dead"] == stats["possibly_twice"] == 0
    session = fresh_collector.session(fresh_collector.sessions()[0]["id"])
    names = [event["name"] for event in session["events"]]
    told = sum(
        event["data"]["count"]
        for event in session["events"]
        if event["name"] == "datacat_records_dropped"
    )
    assert told == stats["dropped"]
    assert names.count("before") == 20 and names.count("after") == 1
    states = len(session.get("state_history") or ())
    assert names.count("starved") + states + stats["dropped"] + stats["merged"] == 100
