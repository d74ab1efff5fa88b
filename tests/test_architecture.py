"""docs/architecture.md shows the packages and modules that there are."""

from __future__ import absolute_import, division

import ast
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


def sources():
    for folder, _, names in os.walk(os.path.join(SOURCES, "datacat")):
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(folder, name)


@pytest.mark.skipif(sys.version_info < (3, 9), reason="the collector's sources need 3.9")
def test_files_classes_and_functions_can_be_seen_at_a_glance():
    too_long = []
    for path in sources():
        with open(path, "rb") as source:
            text = source.read()
        if text.count(b"\n") > 400:
            too_long.append(path)
        for node in ast.walk(ast.parse(text)):
            longest = 300 if isinstance(node, ast.ClassDef) else 45
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                if node.end_lineno - node.lineno >= longest:
                    too_long.append("%s:%d %s" % (path, node.lineno, node.name))
    assert too_long == []
