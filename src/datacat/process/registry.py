"""The pipelines and sessions of this process.

Belongs here: finding, adding and removing them.  Does not: what they do.
"""

from __future__ import absolute_import, division

import weakref

from .. import locks

_pipelines = []
_memberships = weakref.WeakValueDictionary()
_locks = {}


def lock():
    """Return the lock over the list of pipelines; held briefly, for list operations only."""
    return locks.of_this_process(_locks)


def pipelines():
    """Return the pipelines of this process that have not closed."""
    return [pipeline for pipeline in list(_pipelines) if pipeline.is_here]


def has_inherited():
    """Return whether this process was forked from one that had pipelines."""
    return any(pipeline.is_foreign for pipeline in list(_pipelines))


def obtain(settings, make):
    """Return this process's pipeline for some settings; make it if there is none.

    :param settings: the shared Settings.
    :param make: a callable (inherited) -> a new Pipeline that has opened nothing yet; `inherited`
        is the one that this process inherited in a fork for these settings, or None.
    """
    found = []

    def find_or_make():
        if _living(settings) is None:
            _pipelines.append(make(_inherited(settings)))
        # Not simply the new one: a signal handler may have added another before it.
        found.append(_living(settings))

    locks.run_holding(lock(), find_or_make)
    return found[0]


def _living(settings):
    for pipeline in _pipelines:
        if pipeline.is_here and pipeline.settings == settings:
            return pipeline
    return None


def _inherited(settings):
    for pipeline in reversed(_pipelines):
        if pipeline.is_foreign and pipeline.settings == settings:
            return pipeline
    return None


def remove(pipeline):
    """Forget a pipeline; harmless when repeated."""

    def discard():
        if pipeline in _pipelines:
            _pipelines.remove(pipeline)

    locks.run_holding(lock(), discard)


def enrol(membership):
    """Make a session known by its local id, while something refers to it."""
    _memberships[membership.local_id] = membership


def memberships():
    """Return the Membership of each session that something still refers to, a list."""
    return list(_memberships.values())


def membership(local_id):
    """Return the Membership of a session of this process or its parents, or None."""
    return _memberships.get(local_id)
