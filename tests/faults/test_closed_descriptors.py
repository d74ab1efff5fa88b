"""Descriptors that the application closes under the library, as code that makes daemons does."""

from __future__ import absolute_import, division

import os
import signal

import pytest
from tools.host import (
    application,
    await_delivery,
    deliver_what_is_left,
    said,
    warnings_of,
)

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/dev/fd"), reason="the system does not list descriptors"
)

# The application's files get the numbers of the library's: outbox, write-ahead log, connections.
CLOSING = u"""
from datacat.outbox import disk
from datacat.process import registry
disk.CHECK_SECONDS = 0.0
session = open_session(connect_wait=60)
recorder = recorder_of(session, "before")
for number in range(5):
    recorder.log_event("before", {"number": number})
assert session.flush(60)
while any(each.outbox.unsynced for each in registry.pipelines()):
    time.sleep(0.01)
recorder.close()
os.closerange(3, 256)
mine = [os.open("mine-%d" % number, os.O_CREAT | os.O_RDWR) for number in range(40)]
for each in mine:
    os.write(each, b"mine")
recorder = recorder_of(session, "after")
for number in range(45):
    recorder.log_event("after", {"number": number})
say("flushed", flushed=session.flush(120))
session.end(60)
for each in mine:
    os.lseek(each, 0, 0)
say("read", texts=[os.read(each, 100).decode("latin-1") for each in mine])
"""


def test_an_application_that_closes_all_descriptors_loses_no_record_and_no_file(
    own_collector, spool, tmp_path
):
    with application(
        CLOSING, tmp_path, own_collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait(300)
    assert said(app, "flushed")[0]["flushed"] is True, app.output
    assert set(said(app, "read")[0]["texts"]) == {u"mine"}, app.output
    assert len(warnings_of(app, "descriptors")) == 1, app.output
    report = await_delivery(own_collector, [app.accepted])
    assert report.accepted == 50


OFFLINE = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session, "before")
for number in range(5):
    recorder.log_event("before", {"number": number})
recorder.close()
os.closerange(3, 256)
mine = [os.open("mine-%d" % number, os.O_CREAT | os.O_RDWR) for number in range(40)]
recorder = recorder_of(session, "after")
time.sleep(0.02)  # what is written within 10 ms may be in one of those files
for number in range(45):
    recorder.log_event("after", {"number": number})
if sys.argv[3] == "kill":
    while session.stats()["in_memory"]:
        time.sleep(0.01)
say("sizes", sizes=[os.fstat(each).st_size for each in mine])
if sys.argv[3] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_an_end_after_all_descriptors_were_closed_loses_nothing(
    make_collector, spool, tmp_path, end
):
    """A kill once the records have moved, and an exit before that."""
    collector = make_collector().start()
    collector.stop()
    with application(
        OFFLINE, tmp_path, collector.url, (end,), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait(300, expect=-signal.SIGKILL if end == "kill" else 0)
    assert set(said(app, "sizes")[0]["sizes"]) == {0}, app.output
    collector.start()
    report = deliver_what_is_left(collector, [app.accepted], tmp_path, spool=spool)
    assert report.accepted == 50


DAEMON = u"""
session = open_session(connect_wait=60)
recorder = recorder_of(session, "before")
for number in range(5):
    recorder.log_event("before", {"number": number})
assert session.flush(60)
child = os.fork()
if child:
    os.waitpid(child, 0)
    os._exit(0)
recorder.close()
os.closerange(3, 256)
mine = [os.open("mine-%d" % number, os.O_CREAT | os.O_RDWR) for number in range(40)]
for each in mine:
    os.write(each, b"mine")
recorder = recorder_of(session, "after")
for number in range(45):
    recorder.log_event("after", {"number": number})
say("flushed", flushed=session.flush(120))
session.close(60)
gc.collect()
for each in mine:
    os.lseek(each, 0, 0)
say("read", texts=[os.read(each, 100).decode("latin-1") for each in mine])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_daemon_forked_with_a_session_keeps_its_files(own_collector, spool, tmp_path):
    """It closes all descriptors first, those that it inherited from the session too."""
    with application(
        DAEMON, tmp_path, own_collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        app.wait(300)
    assert said(app, "flushed")[0]["flushed"] is True, app.output
    assert set(said(app, "read")[0]["texts"]) == {u"mine"}, app.output
    assert not warnings_of(app, "descriptors"), app.output
