"""Connections whose descriptors another part of the process closed."""

from __future__ import absolute_import, division

import os
import socket

import pytest

from datacat.wire.calls import Call
from datacat.wire.sockets import BoundedSocket

pytestmark = pytest.mark.skipif(os.name != "posix", reason="numbers that anybody can close")


def test_the_applications_own_socket_is_neither_used_nor_closed():
    plain, peer = socket.socketpair()
    mine, mines_peer = socket.socketpair()
    number = plain.fileno()
    bounded = BoundedSocket(plain)
    with Call(60):
        bounded.sendall(b"ours")
        os.dup2(mine.fileno(), number)
        mines_peer.sendall(b"the application's")
        for use in (lambda: bounded.sendall(b"ours"), lambda: bounded.recv_into(bytearray(9))):
            with pytest.raises(EnvironmentError):
                use()
    bounded.close()
    bounded = plain = None
    os.fstat(number)
    os.close(number)
    assert peer.recv(100) == b"ours" and mine.recv(100) == b"the application's"
    for each in (peer, mine, mines_peer):
        each.close()
