"""Programs that tests run as child processes; see application.py."""
