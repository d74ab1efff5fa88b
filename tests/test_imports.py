"""The direction of imports in src/datacat, read from the sources, and what an import may do."""

from __future__ import absolute_import, division

import ast
import io
import os
import sys
import textwrap

import pytest
from tools.process import SOURCES, ChildProcess, environment
from tools.waiting import PATIENCE

PACKAGE = "datacat"
FACE = "__init__"

# Each may import those before it; all packages below may import all of them.
BASE = (
    "_version",
    "_compat",
    "finalizers",
    "wrapping",
    "stack",
    "errors",
    "checks",
    "urls",
    "descriptors",
    "locks",
    "notices",
    "limits",
    "settings",
    "scope",
)
# Each may import the ones named.
DIRECTION = (
    ("records", ""),
    ("outbox", "records"),
    ("wire", "records"),
    ("sending", "records outbox wire"),
    ("process", "records outbox wire sending"),
    ("client", "records wire"),
    ("timers", "records"),
    ("meters", "records process timers"),
    ("recorder", "records process meters"),
    ("upstream", "records recorder"),
    ("heartbeats", "process upstream"),
    ("session", "process client recorder timers heartbeats upstream"),
    ("annotations", ""),
    (FACE, "session client annotations upstream"),
    ("integrations", FACE),
    ("recorded", "records outbox wire process"),
    ("collector", ""),
    ("testing", FACE + " recorded collector"),
    ("cli", FACE + " outbox collector"),
    ("__main__", "cli"),
)
# These do without the modules of BASE.
WITHOUT_BASE = ("collector", "integrations")
# What only one module or package of datacat may import.
RESERVED = {
    "requests": ("wire.exchanges", "wire.connections"),
    "urllib3": ("wire.exchanges", "wire.pools", "wire.sockets"),
    "sqlite3": ("outbox.connection",),
    "idna": ("urls",),
    "platformdirs": ("outbox.folder", "collector"),
    "monotonic": ("_compat",),
    "flask": ("collector",),
    "sqlalchemy": ("collector",),
    "waitress": ("collector",),
    "tqdm": ("cli",),
    "psutil": ("cli", "process.monitor"),
    "pytest": (),
}


def allowed():
    """Return {unit: set of units it may import} of the whole table."""
    table = {}
    for number, unit in enumerate(BASE):
        table[unit] = set(BASE[: number + 1])
    for unit, named in DIRECTION:
        base = () if unit in WITHOUT_BASE else BASE
        table[unit] = set(named.split()).union(base, [unit])
    return table


def may_touch(module, package):
    """Return whether a module may import a package from outside."""
    if package not in RESERVED:
        return True
    inside = module.partition(".")[2] + "."
    return any(inside.startswith(place + ".") for place in RESERVED[package])


def unit_of(module):
    """Return a module's row in the table: datacat.cli.demo is cli."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FACE


def imports_of(source, module, is_package, known):
    """Return the full names of the modules that a source imports, anywhere in it.

    `known`: the modules of datacat, to tell `from datacat import client`, a module, from
    `from datacat import create_session`.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _origin(node, module, is_package)
            names = [base + "." + alias.name for alias in node.names]
            found.update(name if name in known else base for name in names)
        elif isinstance(node, ast.Call) and _imports_by_name(node):
            found.add(ast.literal_eval(node.args[0]))
    return found - {"__future__"}


def _origin(node, module, is_package):
    if not node.level:
        return node.module
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join(parts + ([node.module] if node.module else []))


def _imports_by_name(call):
    name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
    return name in ("__import__", "import_module")


def complaints(imports):
    """Return what is wrong with {module: modules it imports}, one line each."""
    table, wrong = allowed(), []
    for module, imported in sorted(imports.items()):
        unit = unit_of(module)
        if unit not in table:
            wrong.append("%s has no row in DIRECTION: add one" % module)
            continue
        for other in sorted(imported):
            if other.split(".")[0] != PACKAGE:
                if not may_touch(module, other.split(".")[0]):
                    wrong.append("%s must not import %s" % (module, other))
            elif unit_of(other) not in table[unit]:
                wrong.append("%s must not import %s" % (module, other))
    return wrong


def circles(imports):
    """Return the modules that import themselves, directly or not."""

    def reachable(module):
        seen, waiting = set(), [module]
        while waiting:
            for other in imports.get(waiting.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return seen

    return sorted(module for module in imports if module in reachable(module))


@pytest.fixture(scope="module")
def imports():
    """{module: modules it imports} of the real sources."""
    files = {}
    for folder, _, names in os.walk(os.path.join(SOURCES, PACKAGE)):
        for name in names:
            path = os.path.join(folder, name)
            parts = os.path.relpath(path, SOURCES)[: -len(".py")].split(os.sep)
            if name.endswith(".py") and _readable(parts):
                files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    result = {}
    for module, path in files.items():
        with io.open(path, "rb") as source:
            result[module] = imports_of(source.read(), module, path.endswith("__init__.py"), files)
    return result


def _readable(parts):
    """Return whether this Python can parse a module; most of the collector needs a new one."""
    return sys.version_info >= (3, 9) or parts[1] != "collector" or parts[2:] == ["__init__"]


def test_every_module_imports_only_in_the_direction_of_the_design(imports):
    assert complaints(imports) == []


def test_no_imports_are_circular(imports):
    assert circles(imports) == []


def test_the_sources_were_really_read(imports):
    """Guards the two tests above, which find nothing wrong if nothing was read."""
    assert "datacat.records.kinds" in imports["datacat.wire.dialects"]
    assert "requests" in imports["datacat.wire.exchanges"]
    assert "sqlite3" in imports["datacat.outbox.connection"]
    assert {"datacat", "datacat.cli", "datacat.cli.demo", "datacat.collector"} <= set(imports)


@pytest.mark.parametrize(
    "module, line",
    [
        ("datacat.records.build", "from ..outbox import outbox"),
        ("datacat.records.build", "import requests"),
        ("datacat.outbox.outbox", "import sqlite3"),
        ("datacat.outbox.outbox", "from ..wire.dialects import V1"),
        ("datacat.sending.sender", "import urllib3.exceptions"),
        ("datacat.wire.verdicts", "from datacat.outbox.store import Store"),
        ("datacat.wire.transport", "from datacat import session"),
        ("datacat.errors", "from .settings import resolve"),
        ("datacat.session", "from datacat import create_session"),
        ("datacat.client", "def late():\n    from .process.pipeline import Pipeline"),
        (
            "datacat.process.watchdog",
            "import importlib\nimportlib.import_module('datacat.session')",
        ),
        ("datacat.collector.app", "from datacat.errors import DatacatError"),
        ("datacat.collector.app", "from ..settings import resolve"),
        ("datacat.integrations.logging", "from ..records import kinds"),
        ("datacat.integrations.logging", "from datacat import notices"),
        ("datacat.cli.demo", "from ..sending.sender import Sender"),
        ("datacat.testing.session", "from datacat.records import build"),
        ("datacat.testing.network", "import pytest"),
        ("datacat.session", "from .recorded import Recording"),
        ("datacat.newcomer", "import json"),
    ],
)
def test_a_wrong_import_is_found(module, line, imports):
    wrong = dict(imports)
    wrong[module] = imports_of(line, module, False, set(imports) | {module})
    assert [text for text in complaints(wrong) if module in text]


def test_a_circular_import_is_found(imports):
    assert circles({"a": {"b"}, "b": {"c", "json"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


IMPORT_AND_TELL = textwrap.dedent("""
    import io, os, sys, threading
    import platformdirs, requests, six, sqlite3, uuid  # what these read is not ours
    if six.PY2:
        import monotonic

    touched = []

    def telling(what, really):
        def call(*arguments, **options):
            touched.append((what, arguments[0] if arguments else None))
            return really(*arguments, **options)
        return call

    builtins = sys.modules.get("builtins") or sys.modules["__builtin__"]
    builtins.open = telling("open", builtins.open)
    io.open = telling("io.open", io.open)
    os.open = telling("os.open", os.open)
    os.mkdir = telling("os.mkdir", os.mkdir)
    os.makedirs = telling("os.makedirs", os.makedirs)
    threading.Thread.start = telling("Thread.start", threading.Thread.start)

    import datacat
    assert datacat.create_session
    sys.stdout.write("touched %r, threads %d, at the end" % (touched, threading.active_count()))
""")


def test_importing_datacat_starts_no_thread_and_touches_no_file(tmp_path):
    child = ChildProcess(
        [sys.executable, "-c", IMPORT_AND_TELL],
        environment({"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}),
        cwd=str(tmp_path),
    )
    try:
        assert child.wait(PATIENCE) == 0, child.output
        assert child.output == u"touched [], threads 1, at the end"
    finally:
        child.close()
    assert os.listdir(str(tmp_path)) == []
