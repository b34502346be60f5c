"""``python -m aiops`` is the command ``aiops``."""

import sys

from aiops.app.cli import main

sys.exit(main())
