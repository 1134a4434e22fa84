"""`python -m tests.torture`: see `cli`."""

import sys

from tests.torture.cli import main

if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
