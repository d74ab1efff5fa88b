"""docs/architecture.md shows the packages and modules that there are."""

from __future__ import absolute_import, division

import os
import sys

import pytest
from tools.process import SOURCES, ChildProcess, environment

SCRIPT = os.path.join(os.path.dirname(SOURCES), "docs", "picture.py")


@pytest.mark.skipif(sys.version_info < (3, 9), reason="the collector's sources need 3.9")
def test_the_picture_in_the_docs_is_that_of_the_imports():
    child = ChildProcess([sys.executable, SCRIPT], environment())
    try:
        assert child.wait(60) == 0, child.output
    finally:
        child.close()
