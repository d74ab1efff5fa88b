"""The command line: `datacat COMMAND`, or `python -m datacat COMMAND`.

Belongs here: the choice between commands.  Does not: what they do.  A command is a module with
`add_arguments(parser)` and `run(arguments)`, which returns the exit code.
"""

from __future__ import absolute_import, division

import argparse

from datacat import collector
from datacat._version import __version__
from datacat.cli import demo


def main(argv=None):
    """Run a command; return its exit code.

    :param argv: the arguments (a list of strings), None for those of the process.
    :raises SystemExit: with code 2 if they are wrong, as argparse does.
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
    _add(commands, "demo", demo, "show that records survive an outage and a kill")
    return parser


def _add(commands, name, module, summary):
    parser = commands.add_parser(name, help=summary, description=summary)
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
