"""``python -m service`` is ``warpguard``."""

import sys

from service.cli.main import main

sys.exit(main())
