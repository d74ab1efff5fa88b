"""What is kept: one sqlite file per process, the queue in front of it, and the folder of files.

Belongs here: storage, its bounds, and trouble with the disk.  Does not: the network, or what an
answer means for a record.
"""
