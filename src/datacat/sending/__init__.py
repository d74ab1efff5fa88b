"""Whose turn it is, what to do next, and what a failure leads to.

Belongs here: decisions about sessions and their records, as functions of the time.  Does not:
threads, SQL, paths and bodies.
"""
