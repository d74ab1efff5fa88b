"""Logs to one session from two writers: itself, and a forked child or its session.client.

usage: two_writers.py ACCEPTED URL WRITER SETTINGS; like trial_application.py, but with `second`
("fork" or "client") instead of options.
"""

from __future__ import absolute_import, division

import json
import os
import random
import sys
import time

import datacat
from tools.applications import trial_application
from tools.applications.mixed_records import log_one
from tools.recorder import EVERY_EXCEPTION, Recorder


def log_as_child(session, accepted, settings):
    recorder = Recorder(session, accepted, "child")
    for number in range(settings["records"]):
        if number % 4:
            recorder.log_event("step", {"number": number})
        else:
            recorder.log_metric("load", number)
        time.sleep(settings["seconds_between"])
    # Not `await_drained`, whose word is the parent's.
    while session.stats()["waiting"] and not os.path.exists(settings["leave"]):
        time.sleep(trial_application.GLANCE)
    trial_application.say("CHILD", session.stats())
    os._exit(0)


def log_beside(session, number):
    if number % 3 == 0:
        session.client.log_event(session.session_id, "aside", {"number": number})


def main(accepted, url, writer, text):
    settings = json.loads(text)
    second = settings["options"]["second"]
    session = datacat.create_session(
        url, product="trial", version="1", connect_wait=120, max_per_minute=EVERY_EXCEPTION
    )
    session.flush(120)
    if second == "fork" and os.fork() == 0:
        log_as_child(session, accepted, settings)
    recorder = Recorder(session, accepted, writer)
    chance = random.Random(writer)
    for number in range(settings["records"]):
        log_one(recorder, number, chance)
        if second == "client":
            log_beside(session, number)
        time.sleep(settings["seconds_between"])
    trial_application.finish([session], settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
