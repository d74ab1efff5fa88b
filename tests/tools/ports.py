"""Ports on 127.0.0.1 that stay a test's own while nobody listens on them."""

from __future__ import absolute_import, division

import socket


def held_port(port=0):
    """Return a socket that keeps a port (0: a free one) until it is closed.

    It does not listen, so connections are refused. The kernel gives the port to nobody else, but
    a server that sets SO_REUSEADDR, as servers do, may listen on it beside this socket.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", port))
    return holder
