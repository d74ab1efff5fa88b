"""All benchmarks, one table."""

from __future__ import absolute_import

from datacat.measuring import main

from datacat import backlog, drain, footprint, idle, log_calls, starting

main(
    [
        measure
        for module in (log_calls, drain, starting, idle, backlog, footprint)
        for measure in module.MEASURES
    ]
)
