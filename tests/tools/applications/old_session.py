"""A program written for the first client: a session without arguments."""

from __future__ import print_function

import os
import sys

from datacat import create_session


def worker(session, number):
    session.update_state({"worker": {"busy": True, "item": number}})
    session.log_event("step", {"number": number})
    session.log_metric("progress", number * 10.0, tags=["worker:%d" % os.getpid()])
    session.update_state({"worker": {"busy": False}})


def main():
    session = create_session()
    session.start_heartbeat_monitor(timeout=60)
    session.update_state({"application": {"name": "old", "argv": sys.argv[:1]}})
    for number in range(10):
        worker(session, number)
        session.heartbeat()
    try:
        int("not a number")
    except ValueError:
        session.log_exception(extra_data={"during": "parsing"})
    details = session.get_details()
    assert len(details["events"]) == 11, details["events"]
    assert len(details["metrics"]) == 10
    assert details["state"]["worker"] == {"busy": False, "item": 9}
    assert details["active"] is True
    session.stop_heartbeat_monitor()
    result = session.end()
    assert result is None
    assert session.get_details()["active"] is False
    print("all is well", session.session_id)


if __name__ == "__main__":
    main()
