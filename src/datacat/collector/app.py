"""The collector's Flask application.

Belongs here: paths, methods, status codes.  Does not: what an operation does (see `generations`).

No path is bound to a method, because the real servers answer a wrong method in their own words.
Every error is one line of plain text.
"""

import gzip
import hmac
import http
import io
import zlib

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge
from werkzeug.routing import Rule

from datacat.collector.generations import Refused
from datacat.collector.store import UnknownSession

# Compressed or not.  Records have 1 MiB at most; this leaves room for other clients.
LARGEST_BODY = 64 * 1024 * 1024

_JSON = "application/json"
_STATUS_OK = '{"status":"ok"}\n'
_CHUNK = 64 * 1024
_LARGEST_WHOLE = 1024 * 1024


def create_app(generation, api_key=None):
    """Return a WSGI application that answers as a generation of servers does.

    :param generation: a Classic or a V1.
    :param api_key: the key that every path but /health requires as `Authorization: Bearer`
        (string), or None.
    """
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False
    _bind(app, "/api/sessions", lambda: _create(generation))
    _bind(app, "/api/sessions/", lambda: _words("Session ID required", 400))
    _bind(app, "/api/sessions/<path:rest>", lambda rest: _session(generation, rest))
    _bind(app, generation.listing, lambda: _listing(generation))
    if generation.health is not None:
        _bind(app, "/health", lambda: Response(generation.health, content_type=_JSON))
    if api_key is not None:
        app.before_request(lambda: _refuse_without(api_key))
    _bind_errors(app)
    return app


def _bind(app, path, view):
    app.url_map.add(Rule(path, endpoint=path))
    app.view_functions[path] = view


def _bind_errors(app):
    app.register_error_handler(Refused, lambda refusal: _words(str(refusal), 400))
    app.register_error_handler(UnknownSession, lambda _: _words("session not found", 404))
    app.register_error_handler(NotFound, lambda _: _words("404 page not found", 404))
    app.register_error_handler(
        RequestEntityTooLarge, lambda _: _words("Request body too large", 413)
    )
    app.register_error_handler(HTTPException, lambda error: _words(error.name, error.code))


def _create(generation):
    if request.method != "POST":
        return _words("Method not allowed", 405)
    session_id = generation.create(_body(generation))
    return Response(f'{{"session_id":"{session_id}"}}\n', content_type=_JSON)


def _session(generation, rest):
    session_id, _, operation = rest.partition("/")
    if request.method == "GET" and not operation:
        try:
            return _streamed(generation.read(session_id))
        except UnknownSession:
            return _words("Session not found", 404)
    if request.method != "POST" or operation not in generation.operations:
        return _words("Not found", 404)
    generation.operate(operation, session_id, _body(generation))
    return Response(_STATUS_OK, content_type=_JSON)


def _listing(generation):
    if request.method != "GET":
        return _words("Method not allowed", 405)
    return _streamed(generation.read_all())


def _words(words, status):
    # werkzeug would write the phrase in capitals: NOT FOUND.
    line = f"{status} {http.HTTPStatus(status).phrase}"
    return Response(
        words + "\n",
        line,
        content_type="text/plain; charset=utf-8",
        headers={"X-Content-Type-Options": "nosniff"},
    )


def _streamed(parts):
    """Return a response made of `parts`; raises what goes wrong before the first of them.

    waitress closes the connection after a response of unknown length, so only a large one is
    streamed.
    """
    chunks = _chunks(next(parts), parts)
    held, size = [], 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size > _LARGEST_WHOLE:
            return Response(_continued(held, chunks), content_type=_JSON)
    return Response(b"".join(held), content_type=_JSON)


def _chunks(first, parts):
    held, size = [first], len(first)
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _CHUNK:
            yield "".join(held).encode("utf-8")
            held, size = [], 0
    yield "".join(held).encode("utf-8")


def _continued(held, chunks):
    yield from held
    held.clear()
    yield from chunks


def _body(generation):
    """Return the request's body, decompressed, or None if it is damaged."""
    body = request.get_data(cache=False)
    if not generation.takes_gzip or request.headers.get("Content-Encoding") != "gzip":
        return body
    if body[:3] != b"\x1f\x8b\x08":
        raise Refused("Failed to decompress request")
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(body)).read(LARGEST_BODY + 1)
    except (OSError, EOFError, zlib.error):
        return None
    if len(unpacked) > LARGEST_BODY:
        raise RequestEntityTooLarge()
    return unpacked


def _refuse_without(api_key):
    if request.path == "/health":
        return None
    given = request.headers.get("Authorization", "").encode("latin-1")
    if hmac.compare_digest(given, f"Bearer {api_key}".encode("latin-1")):
        return None
    return _words("Unauthorized", 401)
