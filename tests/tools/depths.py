"""Calls from the deepest frames that Python allows."""

from __future__ import absolute_import, division

import gc

from datacat._compat import StackExhausted


def at_each_depth(call, last):
    """Call `call(level)` in each of the last frames before the recursion limit, deepest first.

    Level 0 is the deepest. Return the levels at which the call had no stack left.
    """
    in_vain = []

    def go_down(level):
        try:
            level = go_down(level) + 1
        except StackExhausted:
            level = 0
        if level < last:
            try:
                call(level)
            except StackExhausted:
                in_vain.append(level)
        return level

    # A finalizer of another test's garbage would run without stack, and raise.
    gc.collect()
    gc.disable()
    try:
        go_down(0)
    finally:
        gc.enable()
    return in_vain
