"""Promises about a transport that a forked child inherits. Real forks, real sockets."""

from __future__ import absolute_import, division

import os
import signal
import threading

import pytest
import urllib3
from tools.scripted_server import ScriptedServer, answer, answering

from datacat.wire import pools
from datacat.wire.dialects import Request

EVENT = Request("POST", "/api/sessions/1/events", b'{"name":"e","data":{}}', False)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(function):
    """Run a function in a forked child; return whether it returned True."""
    child = os.fork()
    if child == 0:
        verdict = 1
        try:
            signal.alarm(60)  # where it hangs
            verdict = 0 if function() is True else 1
        finally:
            os._exit(verdict)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_has_its_own_connection_and_leaves_its_parents_usable(connect):
    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT)

        def child():
            return wire.call(EVENT).status == 200 and wire.close() is None

        assert in_child(child)
        assert server.connections == 2
        assert wire.call(EVENT).status == 200
        assert server.connections == 2


def test_a_forked_child_never_waits_for_a_lock_of_its_parents_session(connect, monkeypatch):
    managers = []
    bound = pools.bound
    monkeypatch.setattr(
        pools, "bound", lambda made, *rest: managers.append(made) or bound(made, *rest)
    )
    held, over = threading.Event(), threading.Event()

    def hold(lock):
        with lock:
            held.set()
            over.wait(60)

    with ScriptedServer(answering(answer())) as server:
        wire = connect(server)
        wire.call(EVENT)
        holder = threading.Thread(target=hold, args=(managers[0].pools.lock,))
        holder.start()
        held.wait(60)
        try:
            assert in_child(lambda: wire.call(EVENT).status == 200)
        finally:
            over.set()
            holder.join()


def test_a_forked_child_never_waits_for_a_lock_of_its_parents_pool():
    """Its finalizer closes it in the child."""
    manager = pools.bound(urllib3.PoolManager(), list)
    inherited = manager.connection_from_url("http://127.0.0.1")
    with inherited.pool.mutex:
        assert in_child(lambda: inherited.close() is None)
