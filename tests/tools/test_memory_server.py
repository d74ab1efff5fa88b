"""The server in memory, and the clocks of its world."""

from __future__ import absolute_import, division

from tools.memory_server import World


def test_a_worlds_clocks_run_alike():
    world = World()
    world.pass_(5)
    assert (world.now, world.wall()) == (1005.0, 1767323050.0)
