"""The names of outboxes: who may have a file stands in its name, so that nobody opens it to ask.

Belongs here: making and reading names.  Does not: files.
"""

from __future__ import absolute_import, division

import os
import re
import uuid

# How the name of the file ends with what is learned about a server.
LEARNED = ".server"
_NAME = re.compile(
    r"^(?P<scope>[0-9a-f]{12})-(?P<identity>[0-9a-f]{12})(-(?P<parent>[0-9a-f]{12}))?"
    # Until 0.2 there was none, and the scope was one of the host name, too.
    r"(\.(?P<machine>[0-9a-f]{12}))?\.outbox"
)
# How the name of the mark of a session's end ends.
ENDED = ".ended"
_END_NAME = re.compile(r"^[0-9a-f]{12}\.[0-9A-Za-z-]+%s$" % re.escape(ENDED))
# How the name of a file ends to which faulthandler writes.
STACKS = ".stacks"
_STACKS_NAME = re.compile(
    r"^(?P<scope>[0-9a-f]{12})\.(?P<session>[0-9A-Za-z-]+)\.(?P<process>[0-9]+)"
    # Of the process that it was forked from, as in the name of its outbox.
    r"(\.(?P<parent>[0-9a-f]{12}))?%s$"
    % re.escape(STACKS)
)
# The last part: while it is being written.
_LEARNED_NAME = re.compile(r"^[0-9a-f]{12}\.\w+%s(-[0-9]+)?$" % re.escape(LEARNED))


def new_name(scope, parent=None):
    """Return a name that no other outbox has.

    :param scope: a Scope.
    :param parent: the identity of the outbox of the process that its owner was forked from.
    """
    identity = uuid.uuid4().hex[:12]
    return "%s-%s%s.%s.outbox" % (
        scope.key,
        identity,
        "-" + parent if parent else "",
        scope.machine,
    )


def outbox_of(path):
    """Return the path of the outbox that a file is or lies beside, None for any other file."""
    folder, name = os.path.split(path)
    match = _NAME.match(name)
    return os.path.join(folder, match.group(0)) if match else None


def is_outbox(path):
    """Return whether a file is an outbox, by its name."""
    return outbox_of(path) == path


def is_of(path, scope, any_machine):
    """Return whether an outbox may be one of a scope.

    :param scope: a Scope.
    :param any_machine: whether it may be another machine's.
    """
    machine = _part(path, "machine")
    if machine is None:
        return scope_of(path) == scope.older
    return scope_of(path) == scope.key and (any_machine or machine == scope.machine)


def is_of_another_machine(path, scope):
    """Return whether an outbox is of the same server and product, but of another machine."""
    return scope_of(path) == scope.key and not is_of(path, scope, any_machine=False)


def scope_of(path):
    """Return the key of the scope in the name of an outbox or of a file beside one, or None."""
    return _part(path, "scope")


def machine_of(path):
    """Return the machine in an outbox's file name; None in one of datacat 0.2 or older."""
    return _part(path, "machine")


def identity_of(path):
    """Return the identity in an outbox's file name, or None for one in memory."""
    return _part(path, "identity")


def parent_of(path):
    """Return the identity of the parent in an outbox's file name, or None."""
    return _part(path, "parent")


def learned_of(path):
    """Return the file with what is learned about an outbox's server; None for one in memory."""
    scope = scope_of(path)
    if scope is None:
        return None
    return os.path.join(os.path.dirname(path), "%s.%s%s" % (scope, machine_of(path), LEARNED))


def is_learned(name):
    """Return whether a file has what is learned about a server, by its name without the folder."""
    return _LEARNED_NAME.match(name) is not None


def end_of(path, local_id):
    """Return the mark of the end of a session that its outbox does not know of.

    :param path: of an outbox of the same scope; None is returned for one in memory.
    """
    scope = scope_of(path)
    if scope is None:
        return None
    return os.path.join(os.path.dirname(path), "%s.%s%s" % (scope, local_id, ENDED))


def is_end(name):
    """Return whether a file is the mark of a session's end, by its name without the folder."""
    return _END_NAME.match(name) is not None


def stacks_of(path, local_id, process):
    """Return the file to which faulthandler writes for a session and a process.

    :param path: of the process's outbox; None is returned for one in memory.
    :param process: the process's id.
    """
    scope, parent = scope_of(path), parent_of(path)
    if scope is None:
        return None
    name = "%s.%s.%d%s%s" % (scope, local_id, process, "." + parent if parent else "", STACKS)
    return os.path.join(os.path.dirname(path), name)


def is_stacks(name):
    """Return whether faulthandler writes to a file, by its name without the folder."""
    return _STACKS_NAME.match(name) is not None


def session_of_stacks(name, path, process):
    """Return the session of a file to which the owner of an outbox had faulthandler write.

    Forked children have files for the same session: what tells them apart is the outbox that they
    were forked from, and their process id.

    :param name: the file's name without the folder.
    :param path: of the outbox.
    :param process: the id (str) of its last owner, None if that is unknown.
    :returns: the session's local id; None if the file is none, or another process's.
    """
    match = _STACKS_NAME.match(name)
    if match is None or match.group("scope") != scope_of(path):
        return None
    parent = parent_of(path)
    if match.group("parent") != parent:
        return None
    # Without a parent it is this session's only one, whoever had the outbox since.
    return match.group("session") if parent is None or match.group("process") == process else None


def is_ours(path):
    """Return whether a file is one of those that lie in a folder of outboxes, by its name."""
    name = os.path.basename(path)
    return bool(outbox_of(name)) or is_learned(name) or is_end(name) or is_stacks(name)


def _part(path, name):
    match = _NAME.match(os.path.basename(path))
    return match.group(name) if match else None
