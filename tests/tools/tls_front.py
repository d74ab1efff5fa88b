"""TLS for a server that has none: decrypts and passes bytes on, both ways."""

from __future__ import absolute_import, division

import socket
import threading

from tools.waiting import PATIENCE

PIECE = 65536
GLANCE = 0.1  # seconds


class TlsFront(object):
    """Listens on 127.0.0.1 with `context` (an SSLContext, may be changed) for `target_port`.

    accepted, refused: how many handshakes succeeded and failed.
    """

    def __init__(self, target_port, context):
        self.context = context
        self.accepted = 0
        self.refused = 0
        self._target_port = target_port
        self._over = threading.Event()
        self._ends = []
        self._threads = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self._listener.settimeout(GLANCE)
        self.port = self._listener.getsockname()[1]

    @property
    def url(self):
        return "https://127.0.0.1:%d" % self.port

    def __enter__(self):
        self._begin(self._accept)
        return self

    def __exit__(self, *exc_info):
        self._over.set()
        for end in list(self._ends):
            _shut_down(end)
        for thread in list(self._threads):
            thread.join()
        for end in self._ends + [self._listener]:
            end.close()

    def _begin(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, name="front with TLS")
        thread.daemon = True
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except socket.timeout:
                continue
            client.settimeout(PATIENCE)
            self._begin(self._serve, client)

    def _serve(self, client):
        self._ends.append(client)
        try:
            # A client that rejects our certificate says so in its first bytes after the handshake.
            client = self.context.wrap_socket(client, server_side=True)
            self._ends.append(client)
            first = client.recv(PIECE)
        except EnvironmentError:
            first = b""
        if not first:
            self.refused += 1
            _shut_down(client)
            return
        self.accepted += 1
        server = socket.create_connection(("127.0.0.1", self._target_port), PATIENCE)
        self._ends.append(server)
        server.sendall(first)
        client.settimeout(None)
        server.settimeout(None)
        self._begin(self._pass_on, server, client)
        self._pass_on(client, server)

    def _pass_on(self, source, target):
        try:
            for piece in iter(lambda: source.recv(PIECE), b""):
                target.sendall(piece)
        except EnvironmentError:
            pass  # one side is gone; close the other
        _shut_down(target)


def _shut_down(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except (EnvironmentError, ValueError):
        pass  # not connected any more
