"""Programs that measure datacat beside the floor and beside what people use today.

`python -m benchmarks` prints one table, `python -m benchmarks.log_calls` that part of it.
What may live here: measuring.  What may not: anything that datacat needs to run.
"""
