"""Logs records that a server refuses among good ones.

usage: poisoned.py ACCEPTED URL WRITER SETTINGS; like trial_application.py.  With the option
`quick`, the client gives up on a record after seconds instead of minutes.
"""

from __future__ import absolute_import, division

import json
import random
import sys

from datacat.wire import backoff, verdicts
from tools.applications import trial_application
from tools.applications.mixed_records import log_one
from tools.recorder import Recorder


def log_poison(recorder, number):
    if number % 3 == 0:
        recorder.log_event("poison", {"number": number})
    elif number % 3 == 1:
        recorder.log_metric("poison", number)
    else:
        recorder.update_state({"poison": number})


def be_quick():
    verdicts.POISON_SECONDS = 1.0
    backoff.QUIET_PERIOD = 0.1
    backoff.LONGEST_BACKOFF = 0.2
    backoff.REFUSED_PAUSE = 0.1


def main(accepted, url, writer, text):
    settings = json.loads(text)
    quick = settings["options"].pop("quick")
    if quick:
        be_quick()
    sessions = [
        trial_application.open_session(url, settings["options"])
        for _ in range(settings["sessions"])
    ]
    recorders = [
        Recorder(session, accepted, "%s-%d" % (writer, index))
        for index, session in enumerate(sessions)
    ]
    chance = random.Random(writer)
    for number in range(settings["records"]):
        for recorder in recorders:
            log_one(recorder, number, chance)
            if number in ((3,) if quick else (2, 6, 10)):
                log_poison(recorder, number)
    trial_application.finish(sessions, settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
