"""``python -m edgespike``: the command line."""

import sys

from edgespike.cli import main

sys.exit(main())
