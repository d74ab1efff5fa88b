"""What is recorded: built from an application's arguments, checked, and encoded as JSON.

Belongs here: pure values and functions of them.  Does not: I/O, clocks, servers, storage.
"""
