"""What a program runs on, for the state: the option `environment`.

Belongs here: what is told.  Does not: names of people or machines, nor what could contain them,
such as paths, environment variables and the builder's suffix of a kernel's version.
"""

from __future__ import absolute_import, division

import locale
import os
import platform
import re
import sys

from ..records import build, kinds
from . import recording

_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)*")


def tell(membership):
    """Record the environment as an update of a session's state, if it is to be told."""
    if membership.settings.environment:
        recording.record(membership, kinds.STATE, build.state, ({u"environment": facts()},))


def facts():
    """Return what this program runs on, a dict."""
    system, release, architecture = _system()
    return {
        u"python": u"%d.%d.%d" % sys.version_info[:3],
        u"implementation": platform.python_implementation(),
        u"os": system,
        u"os_release": release,
        u"architecture": architecture,
        # Set by PyInstaller, cx_Freeze, py2exe and py2app.
        u"frozen": bool(getattr(sys, "frozen", False)),
        u"locale": locale.setlocale(locale.LC_CTYPE),
    }


def _system():
    """Return (name, version in numbers, architecture)."""
    # Not by `platform`, some of whose functions start programs.
    if hasattr(os, "uname"):
        system, _, release, _, architecture = os.uname()
        return system, _numbers(release), architecture
    version = u"%d.%d.%d" % tuple(sys.getwindowsversion()[:3])
    return u"Windows", version, u"64 bits" if sys.maxsize > 2**32 else u"32 bits"


def _numbers(release):
    found = _NUMBERS.match(release)
    return found.group() if found else None
