"""``python -m flow_worker``: the same as ``flow-worker``."""

import sys

from flow_worker.cli import main

if __name__ == "__main__":
    sys.exit(main())
