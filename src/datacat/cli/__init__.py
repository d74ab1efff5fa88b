"""The command line: `datacat COMMAND` and `python -m datacat COMMAND` are one.

Only the choice between commands lives here. A command is a module with `add_arguments(parser)`
and `run(arguments)`, which returns the exit code.
"""

from __future__ import absolute_import, division

import argparse

from datacat import collector
from datacat._version import __version__
from datacat.cli import demo


def main(argv=None):
    """Run the command that `argv` (a list of texts, None: sys.argv) names; return its exit code.

    Ends the process with code 2 and the usage where `argv` is wrong, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    return arguments.run(arguments)


def _parser():
    parser = argparse.ArgumentParser(
        prog="datacat", description="Telemetry that arrives: once, in order, nothing lost."
    )
    parser.add_argument("--version", action="version", version="datacat " + __version__)
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    commands.required = True
    _add(commands, "serve", collector, "run a datacat server on this machine")
    _add(commands, "demo", demo, "show an outage, a kill and what arrives in spite of them")
    return parser


def _add(commands, name, module, summary):
    parser = commands.add_parser(name, help=summary, description=summary)
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
