"""``python -m harness`` is ``warpguard-harness``."""

import sys

from harness.cli import main

sys.exit(main())
