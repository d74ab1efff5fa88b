"""What connects an application's other libraries with a session.

Belongs here: one module for each of them, loaded by whoever uses it, and using the public face
alone.  Does not: anything that the rest of datacat needs.
"""
