"""What is recorded: built from what an application passes in, checked, and encoded as JSON.

Belongs here: pure values and functions of them.  Does not: I/O, clocks, servers, storage.
"""
