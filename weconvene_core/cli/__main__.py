"""``python -m weconvene_core.cli`` was the command line of release 0.2, and still is."""

import sys

from weconvene_core.cli.main import main

sys.exit(main())
