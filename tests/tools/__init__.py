"""Building blocks of the tests: real servers, a faulty network, applications that get killed.

Not shipped.  Runs on every Python that the client runs on.
"""
