"""`python -m tests.mutants`: see `gate`."""

import sys

from tests.mutants.gate import main

sys.exit(main())
