"""The stubs say what the modules do, as far as Python itself can tell.

`nox -s types` does the rest, with type checkers.
"""

from __future__ import absolute_import, division

import ast
import io
import os
import re
import rlcompleter
import sys

import pytest
from tools.process import SOURCES

import datacat
from datacat import settings

FOLDER = os.path.join(SOURCES, "datacat")
# Their default depends on the environment, so the stubs give none.
FROM_ENVIRONMENT = ("base_url", "product", "version", "disabled")

needs_annotations = pytest.mark.skipif(
    sys.version_info < (3,), reason="Python 2 cannot parse annotations"
)


def stub_of(module, *path):
    """Return a stub's tree, or a class or function in it: stub_of("client", "DatacatClient")."""
    with io.open(os.path.join(FOLDER, module + ".pyi"), encoding="utf-8") as stub:
        node = ast.parse(stub.read())
    for name in path:
        (node,) = [child for child in node.body if getattr(child, "name", None) == name]
    return node


def options_of(function):
    """Return {parameter: default} of a function in a stub, all of whose parameters have one."""
    named = [each.arg for each in function.args.args if each.arg != "self"]
    assert len(named) == len(function.args.defaults)
    pairs = list(zip(named, function.args.defaults))
    pairs += zip([each.arg for each in function.args.kwonlyargs], function.args.kw_defaults)
    return dict((name, ast.literal_eval(default)) for name, default in pairs)


def documented_keys():
    """Return {key: its sentence} of the stub's Stats."""
    body = stub_of("annotations", "Stats").body
    keys = [
        (node, after) for node, after in zip(body, body[1:]) if isinstance(node, ast.AnnAssign)
    ]
    return dict((node.target.id, ast.literal_eval(after.value)) for node, after in keys)


@needs_annotations
@pytest.mark.parametrize(
    "path", [("session", "create_session"), ("client", "DatacatClient", "__init__")]
)
def test_the_stub_has_every_option_with_its_default(path):
    defaults = dict(settings._DEFAULTS)
    defaults.update((name, None) for name in FROM_ENVIRONMENT + settings._WITHOUT_EFFECT)
    assert options_of(stub_of(*path)) == defaults


@needs_annotations
def test_the_stub_of_the_settings_has_every_option():
    properties = [each.name for each in stub_of("settings", "Settings").body]
    options = [name for name in properties if not name.startswith("_")]
    assert options == [name for name, _ in settings._DEFAULTS]


@needs_annotations
@pytest.mark.parametrize("disabled", [False, True])
def test_the_stub_of_stats_has_every_key_and_a_sentence_for_it(open_session, disabled):
    session = open_session("http://127.0.0.1:1", disabled=disabled, connect_wait=0)
    sentences = documented_keys()
    assert set(sentences) == set(session.stats())
    assert [text for text in sentences.values() if not re.match(r"[A-Z].*\.\Z", text, re.S)] == []


def test_the_docstring_of_stats_and_the_readme_name_every_key(open_session):
    keys = set(open_session("http://127.0.0.1:1", disabled=True).stats())
    with io.open(os.path.join(os.path.dirname(SOURCES), "README.md"), encoding="utf-8") as readme:
        (sentence,) = [line for line in readme if line.startswith("`session.stats()` returns")]
    assert keys - set(re.findall(r"`(\w+)`", sentence)) == set()
    assert keys - set(re.findall(r"\w+", datacat.Session.stats.__doc__)) == set()


def completed(name, value):
    """Return what an interactive Python offers after `name.`, but for names with underscores."""
    offered = rlcompleter.Completer({name: value}).attr_matches(name + ".")
    words = set(text.split(".")[1].rstrip("()") for text in offered)
    return set(word for word in words if not word.startswith("_"))


@pytest.mark.skipif(sys.version_info < (3, 7), reason="modules have no __dir__ before 3.7")
def test_completion_of_the_package_shows_what_is_public():
    assert completed("datacat", datacat) == set(datacat.__all__) - {"__version__"}


@needs_annotations
@pytest.mark.parametrize("disabled", [False, True])
def test_completion_of_a_session_shows_what_its_stub_has(open_session, disabled):
    session = open_session("http://127.0.0.1:1", disabled=disabled, connect_wait=0)
    public = [node.name for node in stub_of("session", "Session").body]
    assert completed("session", session) == set(n for n in public if not n.startswith("_"))
