"""`datacat serve` says in one line why it cannot serve, also without its requirements."""

import argparse
import sys

from datacat import collector


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    collector.add_arguments(parser)
    return parser.parse_args(list(arguments))


def test_it_listens_on_this_machine_only_by_default():
    arguments = parsed()
    assert (
        arguments.host,
        arguments.port,
        arguments.db,
        arguments.api_key,
        arguments.classic,
    ) == ("127.0.0.1", 8080, None, None, False)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "waitress", None)
    monkeypatch.delitem(sys.modules, "datacat.collector.server", raising=False)
    assert collector.run(parsed()) == 1
    assert "pip install 'datacat-client[collector]'" in capsys.readouterr().err


def test_an_older_python_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(collector.sys, "version_info", (3, 8, 0))
    assert collector.run(parsed()) == 1
    assert "needs Python 3.9 or newer; this is 3.8" in capsys.readouterr().err
