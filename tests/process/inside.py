"""The library's internals that the tests of processes use.

Sessions of other tests may still be delivering in this process: those of a test have a product of
their own, or a server of their own.
"""

from __future__ import absolute_import, division

import threading

from datacat.process import registry


def pipelines_of(**wanted):
    """Return this process's pipelines that have these settings."""
    return [
        each
        for each in registry.pipelines()
        if all(getattr(each.settings, name) == value for name, value in wanted.items())
    ]


def threads():
    """Return the set of the library's threads in this process."""
    return set(each for each in threading.enumerate() if each.name.startswith("datacat-"))
