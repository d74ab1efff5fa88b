"""One process: its threads, forks, exit and signals, and its sessions.

Belongs here: what is made when, and who ends it.  Does not: what is sent, or what an answer means.
"""
