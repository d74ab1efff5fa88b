"""Requests to a server as plain HTTP, without the client: bytes out, status and bytes back."""

from __future__ import absolute_import, division

import gzip
import io
import json

import requests

TIMEOUT = 60
OK = u'{"status":"ok"}\n'


def zipped(data):
    """Return `data` (bytes) compressed by gzip."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        stream.write(data)
    return packed.getvalue()


class Server(object):
    """A server and one kept-alive connection to it; not safe to share between threads."""

    def __init__(self, url, api_key=None):
        self.url = url.rstrip("/")
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["Accept-Encoding"] = "identity"
        if api_key is not None:
            self._http.headers["Authorization"] = "Bearer " + api_key
        self.generation = "v1" if self.ask("GET", "/health").status_code == 200 else "classic"
        self.listing = {"v1": "/api/data/sessions", "classic": "/api/grafana/sessions"}[
            self.generation
        ]

    def ask(self, method, path, body=None, headers=None):
        """Return the answer to a request; `body` is bytes, text, None, or a dict for JSON."""
        if isinstance(body, dict):
            body = json.dumps(body)
        if body is not None and not isinstance(body, bytes):
            body = body.encode("utf-8")
        return self._http.request(
            method,
            self.url + path,
            data=body,
            headers=headers,
            timeout=TIMEOUT,
            allow_redirects=False,
        )

    def create(self, **fields):
        """Create a session; return its id."""
        answer = self.ask(
            "POST", "/api/sessions", dict({"product": "conformance", "version": "1"}, **fields)
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["session_id"]

    def post(self, session_id, operation, body):
        """Return the answer to an operation (POST) on a session."""
        return self.ask("POST", "/api/sessions/%s/%s" % (session_id, operation), body)

    def accepted(self, session_id, operation, body):
        """POST an operation, and assert that it was accepted."""
        answer = self.post(session_id, operation, body)
        assert (answer.status_code, answer.text) == (200, OK)

    def text(self, session_id):
        """Return the session's text, exactly as it came."""
        answer = self.ask("GET", "/api/sessions/" + session_id)
        assert answer.status_code == 200, answer.text
        return answer.content.decode("utf-8")

    def session(self, session_id):
        """Return the session, parsed."""
        return json.loads(self.text(session_id))

    def close(self):
        self._http.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def words(answer):
    """Return the parts of a refusal: status, content type and text."""
    return answer.status_code, answer.headers["Content-Type"], answer.text


def refusal(status, text):
    """Return what `words` returns for a refusal by a datacat server."""
    return status, "text/plain; charset=utf-8", text + u"\n"
