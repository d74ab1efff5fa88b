"""What the tests are made of: real servers, a lying network, applications that get killed.

Nothing here is shipped. Runs on every Python that the client runs on.
"""
