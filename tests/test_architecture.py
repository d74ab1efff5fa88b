"""The docs name existing packages, modules and tests."""

from __future__ import absolute_import, division

import ast
import glob
import io
import os
import re
import sys

import pytest
from tools.process import SOURCES, ChildProcess, environment
from tools.waiting import PATIENCE

ROOT = os.path.dirname(SOURCES)
DOCS = os.path.join(ROOT, "docs")
SCRIPT = os.path.join(DOCS, "picture.py")
# A file, with or without its folder and a test in it; or a test by itself.
NAMED = re.compile(r"((?:\w+/)*test_\w+\.py)(?:::(test_\w+))?|\b(test_\w+)")
# Examples for the tests of applications.
EXAMPLE = re.compile(r"^```python\n.*?^```$", re.MULTILINE | re.DOTALL)
DEFINED = re.compile(r"^ *def (test_\w+)", re.MULTILINE)


@pytest.mark.skipif(sys.version_info < (3, 9), reason="the collector's sources need 3.9")
def test_the_picture_in_the_docs_is_that_of_the_imports():
    child = ChildProcess([sys.executable, SCRIPT], environment())
    try:
        assert child.wait(PATIENCE) == 0, child.output
    finally:
        child.close()


def read(path):
    with io.open(path, encoding="utf-8") as stream:
        return stream.read()


def defined_tests():
    """Return {path of a test file, with slashes: the names of its tests}."""
    found = {}
    for folder, _, names in os.walk(os.path.join(ROOT, "tests")):
        for name in names:
            if name.startswith("test_") and name.endswith(".py"):
                path = os.path.join(folder, name)
                key = "/" + os.path.relpath(path, ROOT).replace(os.sep, "/")
                found[key] = set(DEFINED.findall(read(path)))
    return found


def missing(text, by_file):
    """Return what a text names as test files and tests, and there is not."""
    lacking = []
    for match in NAMED.finditer(EXAMPLE.sub(u"", text)):
        path, name, alone = match.groups()
        candidates = [
            names for key, names in by_file.items() if path is None or key.endswith("/" + path)
        ]
        name = name or alone
        if not any(name is None or name in names for names in candidates):
            lacking.append(match.group())
    return lacking


@pytest.mark.parametrize("page", sorted(map(os.path.basename, glob.glob(DOCS + "/*.md"))))
def test_every_test_that_the_docs_name_exists(page):
    assert missing(read(os.path.join(DOCS, page)), defined_tests()) == []


def test_a_test_that_does_not_exist_is_noticed():
    by_file = {"/tests/a/test_one.py": {"test_x"}, "/tests/b/test_two.py": {"test_y"}}
    there = "`tests/a/test_one.py`, `test_two.py::test_y`, `test_x`"
    assert missing(there, by_file) == []
    for wrong in ("test_three.py", "b/test_one.py", "test_one.py::test_y", "test_z"):
        assert missing("see `%s`" % wrong, by_file) == [wrong]


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
                if _lines_of(node) > longest:
                    too_long.append("%s:%d %s" % (path, node.lineno, node.name))
    assert too_long == []


def _lines_of(node):
    """Return how many lines a class or function has."""
    if node.name == "create_session":
        # Its docstring has a line for each option.
        return node.end_lineno - node.body[0].end_lineno
    return node.end_lineno - node.lineno + 1
