"""`python -m paretolens.search.cli`: the same as the command `paretolens`."""

import sys

from paretolens.search.cli.main import main

sys.exit(main())
