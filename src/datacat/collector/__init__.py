"""A real datacat server in Python, for development, demonstrations and tests.

Belongs here: a server, without the client.  Does not: in this file, imports of what the extra
`collector` installs; `datacat serve` needs the file on every Python, with or without the extra.
"""

import sys

NEEDED_PYTHON = (3, 9)


def serve(host="127.0.0.1", port=8080, db=None, api_key=None, classic=False):
    """Serve until SIGTERM or SIGINT, then return.  Call it from the main thread.

    :param host: the address to listen on (string).
    :param port: the port to listen on (int), 0 for a free one.
    :param db: a file or an SQLAlchemy URL (string), None for a file in the user's state folder.
    :param api_key: the key that clients must send (string, v1 only), or None.
    :param classic: whether to speak the older generation of the API.
    :raises OSError: if it cannot listen, or cannot open the database.
    :raises ValueError: for invalid settings.
    """
    from datacat.collector.server import serve as serve_until_stopped

    serve_until_stopped(host, port, db, api_key, classic)


def add_arguments(parser):
    """Add the arguments of `datacat serve` to an argparse parser."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: %(default)s, this machine only)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8080,
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
        "--api-key", metavar="KEY", help="require 'Authorization: Bearer KEY' (v1 only)"
    )
    parser.add_argument(
        "--classic", action="store_true", help="speak the older generation of the API"
    )


def run(arguments):
    """Run `datacat serve` with parsed arguments; return the exit code."""
    if sys.version_info < NEEDED_PYTHON:
        return _refused(
            "the collector needs Python 3.9 or newer; this is %d.%d" % sys.version_info[:2]
        )
    try:
        import datacat.collector.server  # noqa: F401
    except ImportError as missing:
        return _refused(
            "the collector's requirements are not installed (%s): "
            "run pip install 'datacat-client[collector]'" % missing
        )
    try:
        serve(arguments.host, arguments.port, arguments.db, arguments.api_key, arguments.classic)
    except (OSError, ValueError) as problem:
        return _refused(str(problem))
    return 0


def _refused(reason):
    sys.stderr.write("datacat serve: %s\n" % reason)
    return 1
