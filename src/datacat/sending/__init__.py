"""Whose turn it is, what to do next, and what a failure leads to.

Belongs here: decisions about sessions and their records, with the time given.  Does not: threads,
SQL, paths and bodies.
"""
