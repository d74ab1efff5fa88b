"""The collector as a process.

Belongs here: checking the settings, the socket, waitress's threads, signals.  Does not: what is
answered and stored.
"""

import logging
import signal
import socket
import time

import waitress

from datacat.collector.app import LARGEST_BODY, create_app
from datacat.collector.generations import V1, Classic
from datacat.collector.store import Store

_THREADS = 8
# Each client process keeps a connection open; waitress allows 100 unless told otherwise.
_CONNECTIONS = 1000
_BACKLOG = 1024
_ASKED_TO_STOP = (signal.SIGTERM, signal.SIGINT)


def serve(host, port, db, api_key, classic):
    """Serve until SIGTERM or SIGINT; see `datacat.collector.serve`."""
    _check(api_key, classic)
    generation = Classic if classic else V1
    listener = _listen(host, port)
    with listener:
        store = Store(db, generation.name)
        try:
            app = create_app(generation(store, time.time_ns), api_key)
            _answer(app, listener, host, generation.name)
        finally:
            store.close()


def _answer(app, listener, host, generation):
    # waitress warns whenever a request waits for a thread, which is normal.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = waitress.create_server(
        app,
        sockets=[listener],
        threads=_THREADS,
        connection_limit=_CONNECTIONS,
        backlog=_BACKLOG,
        max_request_body_size=LARGEST_BODY,
        asyncore_use_poll=True,
        ident=None,
    )
    for number in _ASKED_TO_STOP:
        signal.signal(number, _stop)
    shown = f"[{host}]" if ":" in host else host
    try:
        print(
            f"datacat collector ({generation}) listening on "
            f"http://{shown}:{listener.getsockname()[1]}",
            flush=True,
        )
        server.run()
    except SystemExit:
        pass  # the signal came before run() was ready to handle it
    # Threads finish the requests that they have begun; no other is stored.
    server.task_dispatcher.shutdown()
    server.close()


def _stop(_number, _frame):
    for number in _ASKED_TO_STOP:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit


def _listen(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as problem:
        raise OSError(f"cannot listen on {host} port {port}: {problem}") from problem


def _check(api_key, classic):
    if api_key is None:
        return
    if classic:
        raise ValueError("classic servers have no API keys: leave out --classic or --api-key")
    try:
        api_key.encode("latin-1")
        fits = api_key == api_key.strip() != "" and api_key.isprintable()
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise ValueError(
            "the API key cannot be sent in a header: use printable Latin-1 characters, at least "
            "one, without spaces around them"
        )
