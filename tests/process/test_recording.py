"""Calls that are made again where stack ran out, which is no second sighting of an exception."""

from __future__ import absolute_import, division

import json
import os

from datacat import settings
from datacat.process import recording
from datacat.process.holding import Holding
from datacat.records.sightings import Sightings


class Member(object):
    """What a call needs of a session's Membership; it keeps the bodies of records."""

    is_recording = True

    redact = screen = entry = sleepers = None

    def __init__(self):
        self.place = self
        self.process = os.getpid()
        self.sightings = Sightings("local-1")
        self.holding = Holding(settings.resolve())
        self.bodies = []

    def append(self, entry, kind, body):
        self.bodies.append(json.loads(body.decode("ascii")))
        return True


def test_a_call_about_an_exception_that_is_made_again_tells_it_as_the_first_time():
    member, sighting = Member(), []
    given = (None, ValueError("e"), (None, None, None))
    recording.tell(member, sighting, given)
    recording.tell(member, sighting, given)
    assert [body["name"] for body in member.bodies] == ["exception"] * 2
    assert member.sightings.again == 0
    recording.tell(member, [], given)
    assert len(member.bodies) == 2 and member.sightings.again == 1
