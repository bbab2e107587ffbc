"""``python -m weconvene_core`` is the command line ``weconvene``."""

import sys

from weconvene_core.cli.main import main

sys.exit(main())
