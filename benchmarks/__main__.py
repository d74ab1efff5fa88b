"""All benchmarks, one table."""

from __future__ import absolute_import

from . import backlog, drain, footprint, idle, log_calls, starting
from .measuring import main

main(
    [
        measure
        for module in (log_calls, drain, starting, idle, backlog, footprint)
        for measure in module.MEASURES
    ]
)
