"""`python -m datacat`: the same as the command `datacat`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
