"""``python -m service`` is ``warpguard``."""

import sys

from service.cli import main

sys.exit(main())
