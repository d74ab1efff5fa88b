"""What is inside an error of requests or urllib3, which wrap each other's.

Belongs here: walking an error and those inside it, and its message.  Does not: what it means.
"""

from __future__ import absolute_import, division

import re

import six

_OBJECT_IN_MESSAGE = re.compile(r"^<?[\w.]*(\(host=[^)]*\)| object at 0x\w+>): ")
_CREDENTIALS = re.compile(r"//[^/@\s]*@")


def _causes(fault):
    """Yield an error of requests and all errors inside it, outermost first."""
    seen = set()
    waiting = [fault]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting.append(getattr(cause, "reason", None))
            waiting.append(getattr(cause, "original_error", None))
            waiting.extend(cause.args)


def innermost(fault):
    """Return the error at the bottom of another."""
    return list(_causes(fault))[-1]


def is_any(fault, kinds):
    """Return whether an error, or one inside it, is of some classes."""
    return any(isinstance(cause, kinds) for cause in _causes(fault))


def message_of(fault):
    """Return an error's message without memory addresses and credentials in URLs."""
    try:
        text = six.text_type(fault)
    except UnicodeError:  # Python 2: the system's messages in a language other than English
        text = str(fault).decode("utf-8", "replace")
    text = _CREDENTIALS.sub(u"//***@", _OBJECT_IN_MESSAGE.sub(u"", text))
    return text or type(fault).__name__
