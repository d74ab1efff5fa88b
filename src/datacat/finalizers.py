"""Calls that finalizers make while the interpreter shuts down, when globals are gone.

Python sets the globals of modules to None one by one, and frees `sys.excepthook` and the like,
with all that they hold, only after that.

Belongs here: keeping such a call silent.  Does not: what is kept until then.
"""

from __future__ import absolute_import, division

import functools

from ._compat import is_finalizing


def silent_at_shutdown(names):
    """Make methods of a class return None if they fail while the interpreter shuts down.

    :param names: of the methods, separated by spaces.
    """

    def change(kind):
        for name in names.split():
            setattr(kind, name, _silent_at_shutdown(getattr(kind, name)))
        return kind

    return change


def _silent_at_shutdown(method, is_finalizing=is_finalizing):
    # On Python 2 a class gives methods that are bound to it.
    method = getattr(method, "__func__", method)

    @functools.wraps(method)
    def call(*arguments, **named):
        try:
            return method(*arguments, **named)
        except Exception:
            if not is_finalizing():
                raise

    return call
