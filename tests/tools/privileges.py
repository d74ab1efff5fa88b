"""Root without the privilege to ignore permissions, for a while and in one thread.

Threads that this one starts meanwhile have none either.
"""

from __future__ import absolute_import, division

import contextlib
import ctypes
import os
import sys

import pytest

# capabilities(7), capset(2)
_VERSION = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


@contextlib.contextmanager
def bound_by_permissions():
    """Run a block as one whom permissions bind; skip where that cannot be had."""
    if os.name != "posix":
        pytest.skip("POSIX permissions")
    if os.getuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root ignores permissions")
    call = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    if call.capget(header, sets):
        pytest.skip("root ignores permissions, and capabilities cannot be read here")
    before = sets[0]
    sets[0] = before & ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    if call.capset(header, sets):
        pytest.skip("root ignores permissions, and cannot give that up here")
    try:
        yield
    finally:
        sets[0] = before
        assert call.capset(header, sets) == 0
