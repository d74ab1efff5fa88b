"""The version, the one place where it is written; setup.py reads this line and imports nothing."""

__version__ = "0.2.0"
