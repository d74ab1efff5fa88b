"""Functions that run inside a `with` block, of whatever kind they are.

Belongs here: wrapping a function so that it stays what it is: a function, a generator, a coroutine
or an asynchronous generator.  Does not: what the block does.
"""

from __future__ import absolute_import, division

import functools
import inspect
import sys

import six


def running_inside(make_context, function):
    """Return a function that runs another one in a `with` block.

    :param make_context: returns the context manager for a call.
    """
    for is_one, wrap in _KINDS:
        if is_one(function):
            return six.wraps(function)(wrap(make_context, function))
    return six.wraps(function)(_call(make_context, function))


def _call(make_context, function):
    def call(*given, **named):
        with make_context():
            return function(*given, **named)

    return call


def _generator(make_context, function):
    """For Python 2, where a generator returns nothing."""

    def call(*given, **named):
        with make_context():
            inner = function(*given, **named)
            step = inner.next
            while True:
                try:
                    value = step()
                except StopIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    inner.close()
                    raise
                except BaseException:
                    step = functools.partial(inner.throw, *sys.exc_info())
                else:
                    step = functools.partial(inner.send, sent)

    return call


# As text, because Python 2 must be able to compile this module.
_PYTHON_3 = u"""
def generator(make_context, function):
    def call(*given, **named):
        with make_context():
            return (yield from function(*given, **named))

    return call


def coroutine(make_context, function):
    async def call(*given, **named):
        with make_context():
            return await function(*given, **named)

    return call


def async_generator(make_context, function):
    async def call(*given, **named):
        with make_context():
            inner = function(*given, **named)
            step = inner.__anext__()
            while True:
                try:
                    value = await step
                except StopAsyncIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:
                    step = inner.athrow(error)
                else:
                    step = inner.asend(sent)

    return call
"""


def _kinds():
    """Return pairs (whether a function is of a kind, what wraps one of that kind)."""
    if six.PY2:
        return ((inspect.isgeneratorfunction, _generator),)
    made = {}
    six.exec_(compile(_PYTHON_3, "<datacat.wrapping>", "exec"), made)
    return (
        (inspect.isasyncgenfunction, made["async_generator"]),
        (inspect.iscoroutinefunction, made["coroutine"]),
        (inspect.isgeneratorfunction, made["generator"]),
    )


_KINDS = _kinds()
