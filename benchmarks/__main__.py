"""All benchmarks, one table."""

from __future__ import absolute_import

from . import backlog, drain, footprint, idle, log_calls, many_sessions, starting, way_in
from .measuring import main

main(
    [
        measure
        for module in (
            way_in,
            log_calls,
            drain,
            many_sessions,
            starting,
            idle,
            backlog,
            footprint,
        )
        for measure in module.MEASURES
    ]
)
