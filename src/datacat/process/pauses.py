"""Which sessions' records must wait because the application wants nothing to be sent.

Belongs here: remembering that for this process, and its forked children.  Does not: what the
sender does then.
"""

from __future__ import absolute_import, division

from . import registry

# Settings as `Settings.shared` returns them, not pipelines, which come and go.
_paused = set()


def begin(settings):
    """Send nothing for sessions that share these settings, from the next request on."""
    _paused.add(settings)


def end(settings):
    """Send again, and try the server at once."""
    _paused.discard(settings)
    for pipeline in registry.pipelines():
        if pipeline.settings == settings and pipeline.engine is not None:
            pipeline.engine.hurry()


def is_on(settings):
    """Return whether nothing is sent for sessions that share these settings."""
    return bool(_paused) and settings in _paused
