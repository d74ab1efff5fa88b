"""The server in memory, and its clocks."""

from __future__ import absolute_import, division

from tools.memory_server import World


def test_both_clocks_advance_together():
    world = World()
    world.pass_(5)
    assert (world.now, world.wall()) == (1005.0, 1767323050.0)
