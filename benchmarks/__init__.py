"""Programs that compare datacat with the floor and with other libraries.

Belongs here: measuring.  Does not: anything that datacat needs to run.  `python -m benchmarks`
prints one table, `python -m benchmarks.log_calls` a part of it.
"""
