"""``python -m flow``: the same as the ``flow`` command."""

import sys

from flow.cli import main

if __name__ == "__main__":
    sys.exit(main())
