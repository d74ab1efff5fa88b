"""A gateway that takes all requests that came together before it handles any of them.

It answers in order, as HTTP/1.1 demands, but may apply requests in another order, as one does that
handles those of a connection side by side.
"""

from __future__ import absolute_import, division

import socket
import threading

from tools.http_wire import BrokenMessage, Wire
from tools.waiting import PATIENCE


class Gateway(object):
    """Listens on 127.0.0.1 in front of the server on `target_port`; use it by `with`.

    :param arrange: a callable (list of requests) that returns them in the order of handling.
    :ivar together: how many requests it got together, each time.
    """

    def __init__(self, target_port, arrange=list):
        self.together = []
        self._target_port = target_port
        self._arrange = arrange
        self._sockets = []
        self._threads = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        for each in [self._listener] + self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except (OSError, IOError):
                pass  # not connected any more
            each.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a gateway's thread did not end"

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments)
        thread.daemon = True
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except (OSError, IOError):
                return
            self._sockets.append(client)
            self._start(self._serve, client)

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port), PATIENCE)
            self._sockets.append(server)
            self._pass_on(Wire(client), Wire(server))
        except (EnvironmentError, BrokenMessage):
            client.close()

    def _pass_on(self, client, server):
        while True:
            requests = _all_that_came(client)
            if not requests:
                client.socket.close()
                return
            self.together.append(len(requests))
            answers = {}
            for request in self._arrange(requests):
                server.socket.sendall(request.head + request.body)
                response = server.read_response(request.method)
                answers[id(request)] = response.head + response.body
            client.socket.sendall(b"".join(answers[id(request)] for request in requests))


def _all_that_came(client):
    """Return the next request on a connection, and all that came with it."""
    requests = []
    while not requests or client.has_more:
        request = client.read_request()
        if request is None:
            break
        requests.append(request)
    return requests
