"""`python -m tests.ecosystem`."""

import sys

from tests.ecosystem.run import main

sys.exit(main(sys.argv[1:]))
