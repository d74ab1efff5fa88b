"""Logs mixed records to sessions, says when all is delivered, and ends when it is told to.

usage: trial_application.py ACCEPTED URL WRITER SETTINGS

SETTINGS is JSON: records, enough (null, or the file that tells it to stop logging, after so many
records at least), sessions, seconds_between, options (of create_session), leave (the file that
tells it to end), farewell ("end" or "close"), patience (seconds for each farewell).  It prints
lines for trial.py: OPENED, LOGGED, DRAINED, FAREWELL, STATS, LOSSES and LEAVING, with monotonic
times; and WARNED for each warning of the library.
"""

from __future__ import absolute_import, division, print_function

import json
import logging
import os
import random
import sys
import time

import requests  # noqa: F401 (imported early: what it takes is not to be measured)

import datacat
from datacat._compat import monotonic
from tools import call_times
from tools.applications.mixed_records import log_one
from tools.losses import losses
from tools.recorder import EVERY_EXCEPTION, Recorder

GLANCE = 0.02  # seconds
MOST_RECORDS = 50000  # of an endless run that nobody stops

call_times.be_patient()
logging.basicConfig(format="WARNED %(name)s %(message)s", level=logging.WARNING)


def say(topic, value):
    print(topic, json.dumps(value))


def is_enough(enough):
    return enough is None or os.path.exists(enough)


def await_drained(sessions, leave):
    """Poll stats(): flush() would cut the client's backoff short."""
    while any(session.stats()["waiting"] for session in sessions):
        if os.path.exists(leave):
            return
        time.sleep(GLANCE)
    say("DRAINED", monotonic())


def await_leave(leave):
    while not os.path.exists(leave):
        time.sleep(GLANCE)


def part(sessions, farewell, patience):
    for session in sessions:
        began = monotonic()
        getattr(session, farewell)(patience)
        say("FAREWELL", monotonic() - began)


def open_session(url, options):
    began = monotonic()
    options = dict({"max_per_minute": EVERY_EXCEPTION}, **options)
    session = datacat.create_session(url, product="trial", version="1", **options)
    say("OPENED", monotonic() - began)
    return session


def tell_what_became(sessions):
    say("STATS", [session.stats() for session in sessions])
    say("LOSSES", losses())


def finish(sessions, settings):
    """Do what every trial's application does once all is logged."""
    say("LOGGED", monotonic())
    await_drained(sessions, settings["leave"])
    await_leave(settings["leave"])
    part(sessions, settings["farewell"], settings["patience"])
    tell_what_became(sessions)
    say("LEAVING", monotonic())


def main(accepted, url, writer, text):
    settings = json.loads(text)
    sessions = [open_session(url, settings["options"]) for _ in range(settings["sessions"])]
    recorders = [
        Recorder(session, accepted, "%s-%d" % (writer, index))
        for index, session in enumerate(sessions)
    ]
    chance = random.Random(writer)
    for number in range(MOST_RECORDS):
        if number >= settings["records"] and is_enough(settings["enough"]):
            break
        log_one(chance.choice(recorders), number, chance)
        time.sleep(settings["seconds_between"])
    finish(sessions, settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
