"""One process: its threads, forks, exit and signals, and the sessions it has in hand.

Belongs here: who is made when, and who ends it.  Does not: what is sent, or what an answer means.
"""
