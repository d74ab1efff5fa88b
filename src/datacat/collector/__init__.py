"""A real datacat server in Python, for development, demonstrations and tests.

This file holds what `datacat serve` needs before the extra is known to be there, and nothing that
imports it; it runs on every Python. Nothing in this package imports anything of the client.
"""

import sys

NEEDED_PYTHON = (3, 9)


def serve(host="127.0.0.1", port=9090, db=None, api_key=None, classic=False):
    """Serve until SIGTERM or SIGINT, then return; call it from the main thread.

    `host` and `port` say where to listen (0: a free port); `db` is a file or an SQLAlchemy URL
    (None: the user's state folder); `api_key` is what v1 demands as `Authorization: Bearer`;
    `classic` speaks the older generation. Raises OSError when it cannot listen or open the file,
    ValueError for settings that make no sense.
    """
    from datacat.collector.server import serve as serve_until_stopped

    serve_until_stopped(host, port, db, api_key, classic)


def add_arguments(parser):
    """Add the arguments of `datacat serve` to an argparse parser."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on " "(default: %(default)s, this machine only)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=9090,
        help="the port to listen on, 0 for a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--db",
        metavar="FILE-OR-URL",
        help="an sqlite file or an SQLAlchemy URL "
        "(default: collector-v1.db or collector-classic.db in the user's state "
        "folder)",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="demand 'Authorization: Bearer KEY' (v1 only)"
    )
    parser.add_argument(
        "--classic", action="store_true", help="speak the older generation of the API"
    )


def run(arguments):
    """Do `datacat serve` with parsed arguments; return the process's exit code."""
    if sys.version_info < NEEDED_PYTHON:
        return _refused(
            "the collector needs Python 3.9 or newer; this is %d.%d" % sys.version_info[:2]
        )
    try:
        import datacat.collector.server  # noqa: F401
    except ImportError as missing:
        return _refused(
            "the collector's parts are not installed (%s): "
            "pip install 'datacat[collector]'" % missing
        )
    try:
        serve(arguments.host, arguments.port, arguments.db, arguments.api_key, arguments.classic)
    except (OSError, ValueError) as problem:
        return _refused(str(problem))
    return 0


def _refused(words):
    sys.stderr.write("datacat serve: %s\n" % words)
    return 1
