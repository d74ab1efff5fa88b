"""What a fault proxy can do to a request: one class per kind of fault.

A fault gets an Exchange and returns whether the client's connection stays open.  It counts itself
(`exchange.strike`) before the client can notice it, and only if it really struck.
"""

from __future__ import absolute_import, division

import itertools
import random


class Fault(object):
    """Passes the request and its answer on, as for a request without a rule."""

    name = None

    def named(self, name):
        """Return this fault, counted as `name`."""
        self.name = name
        return self

    def play(self, exchange):
        response = exchange.forward()
        return exchange.give(response)


class CutBeforeLastByte(Fault):
    """The server gets the request without its last byte; both connections break."""

    name = "cut_before_last_byte"

    def play(self, exchange):
        exchange.send_to_server((exchange.request.head + exchange.request.body)[:-1])
        exchange.strike(self.name)
        exchange.drop_server()
        exchange.reset_client()
        return False


class LoseAnswer(Fault):
    """The server answers, but the client's connection breaks before the answer."""

    name = "lose_answer"

    def play(self, exchange):
        exchange.forward()
        exchange.strike(self.name)
        exchange.reset_client()
        return False


class CutAnswer(Fault):
    """The client gets the first part of the answer (`share` of 1), then a closed connection."""

    name = "cut_answer"

    def __init__(self, share=0.5):
        self.share = share

    def play(self, exchange):
        response = exchange.forward()
        answer = response.head + response.body
        exchange.strike(self.name)
        exchange.write_to_client(answer[: min(len(answer) - 1, int(len(answer) * self.share))])
        return False


class Delay(Fault):
    """The request, and its answer, are passed on after some seconds."""

    name = "delay"

    def __init__(self, request=0.0, answer=0.0):
        self.request = request
        self.answer = answer

    def play(self, exchange):
        exchange.strike(self.name)
        exchange.sleep(self.request)
        response = exchange.forward()
        exchange.sleep(self.answer)
        return exchange.give(response)


class Throttle(Fault):
    """A line of some bytes a second, both ways.

    The proxy reads the request at full speed; what the client notices is the late answer.
    """

    name = "throttle"

    def __init__(self, bytes_per_second):
        self.bytes_per_second = bytes_per_second

    def play(self, exchange):
        exchange.strike(self.name)
        piece = max(1, self.bytes_per_second // 20)
        pace = (piece, piece / float(self.bytes_per_second))
        response = exchange.forward(pace=pace)
        return exchange.give(response, pace=pace)


class Drip(Fault):
    """The answer comes in pieces of `piece` bytes, one every `interval` seconds."""

    name = "drip"

    def __init__(self, interval, piece=1):
        self.pace = (piece, interval)

    def play(self, exchange):
        response = exchange.forward()
        exchange.strike(self.name)
        return exchange.give(response, pace=self.pace)


class Stall(Fault):
    """The client never gets an answer; `applied`: whether the server gets the request."""

    name = "stall"

    def __init__(self, applied=False):
        self.applied = applied

    def play(self, exchange):
        if self.applied:
            exchange.forward()
        exchange.strike(self.name)
        exchange.await_client_gone()
        return False


class Reset(Fault):
    """The connection is reset after the request; the server never sees it."""

    name = "reset"

    def play(self, exchange):
        exchange.strike(self.name)
        exchange.reset_client()
        return False


class Answer(Fault):
    """The proxy answers instead; `applied`: whether the server gets the request too.

    headers: pairs. body: bytes, or a callable (request) that returns an iterable of bytes, which
    is sent without a length until it ends or the client closes.
    """

    name = "answer"

    def __init__(self, status, body=b"", headers=(), applied=False):
        self.status = status
        self.body = body
        self.headers = list(headers)
        self.applied = applied

    def play(self, exchange):
        if self.applied:
            exchange.forward()
        exchange.strike(self.name)
        if callable(self.body):
            exchange.write_to_client(self._head(), status=self.status)
            for piece in self.body(exchange.request):
                exchange.write_to_client(piece, status=self.status)
            return False
        body = b"" if exchange.request.method == "HEAD" else self.body
        exchange.write_to_client(self._head() + body, status=self.status)
        return True

    def _head(self):
        lines = [u"HTTP/1.1 %d %s" % (self.status, u"From the proxy")]
        lines.extend(u"%s: %s" % pair for pair in self.headers)
        if callable(self.body):
            lines.append(u"Connection: close")
        elif self.status not in (204, 304):
            lines.append(u"Content-Length: %d" % len(self.body))
        return u"\r\n".join(lines + [u"", u""]).encode("latin-1")


def captive_portal():
    """Return a captive portal's page: 200 and HTML."""
    page = b"<!DOCTYPE html><html><title>Welcome</title>Please accept our terms</html>"
    return Answer(200, page, [("Content-Type", "text/html")]).named("captive_portal")


def html_filter(status):
    """Return a content filter's page: HTML with a status."""
    page = b"<html><body>This site was blocked by your administrator</body></html>"
    return Answer(status, page, [("Content-Type", "text/html")]).named("html_filter")


def redirect(location, status=302):
    """Return a redirect to another URL."""
    return Answer(status, b"", [("Location", location)]).named("redirect")


def busy(retry_after=None, status=503):
    """Return an answer to try again later, with a Retry-After (any text) or without."""
    headers = [("Content-Type", "text/plain")]
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    return Answer(status, b"busy\n", headers).named("busy")


def gateway_error(status, applied):
    """Return a reverse proxy's answer (500, 502, 504); `applied`: whether the server got it."""
    page = b"<html><h1>Bad gateway</h1></html>"
    name = "gateway_error_applied" if applied else "gateway_error_unapplied"
    return Answer(status, page, [("Content-Type", "text/html")], applied).named(name)


def one_in(count, seed):
    """Return a predicate that is true for one request in `count`, random with a fixed seed."""
    chance = random.Random(seed)
    return lambda request: chance.random() * count < 1


def every(count, first=1):
    """Return a predicate that is true for request number `first` and every `count`th after it.

    It numbers the requests that it is called with.
    """
    numbers = itertools.count()
    return lambda request: (next(numbers) - first + 1) % count == 0


def is_write(request):
    """Return whether a request changes a session: its state, events or metrics."""
    return request.method == "POST" and request.path.endswith(("/state", "/events", "/metrics"))
