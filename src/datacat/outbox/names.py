"""The names of outboxes: who may have a file stands in its name, so that nobody opens it to ask.

Belongs here: making and reading names.  Does not: files.
"""

from __future__ import absolute_import, division

import os
import re
import uuid

_NAME = re.compile(
    r"^(?P<scope>[0-9a-f]{12})-(?P<identity>[0-9a-f]{12})(-(?P<parent>[0-9a-f]{12}))?\.outbox"
    r"(?P<ending>.*)$"
)


def new_name(scope, parent=None):
    """Return a name that no other outbox has.

    :param scope: 12 hexadecimal characters.
    :param parent: the identity of the outbox of the process that its owner was forked from.
    """
    return "%s-%s%s.outbox" % (scope, uuid.uuid4().hex[:12], "-" + parent if parent else "")


def belongs_to_an_outbox(name):
    """Return whether a file is an outbox or lies beside one, by its name."""
    return _NAME.match(name) is not None


def outboxes(names, scope):
    """Return those of some names that are outboxes of a scope, a list."""
    return [name for name in names if _part(name, "ending") == "" and scope_of(name) == scope]


def scope_of(path):
    """Return the scope in the name of an outbox or of a file beside one, or None."""
    return _part(path, "scope")


def identity_of(path):
    """Return the identity in an outbox's file name, or None for one in memory."""
    return _part(path, "identity")


def parent_of(path):
    """Return the identity of the parent in an outbox's file name, or None."""
    return _part(path, "parent")


def _part(path, name):
    match = _NAME.match(os.path.basename(path))
    return match.group(name) if match else None
