"""Counting the calls that a call makes, which no load of the machine changes."""

from __future__ import absolute_import, division

import sys


def calls_of(function, *arguments):
    """Return how many functions of Python's are called by one."""
    events = []
    sys.setprofile(lambda frame, event, _: events.append(event))
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return events.count("call")
