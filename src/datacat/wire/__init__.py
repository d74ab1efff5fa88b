"""How it is said: one exchange with a server, in both of its generations, and what came of it.

Belongs here: requests, sockets, paths, bodies, the meaning of answers, and read-backs.  Does not:
storage, waiting, whose turn it is.
"""
