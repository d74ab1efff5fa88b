"""For tests of applications: what the pytest plugin's fixtures are made of.

Belongs here: whatever needs no pytest.  Does not: fixtures (see the module `pytest_datacat`).
"""
