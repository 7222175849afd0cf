"""``python -m flow_coordinator``."""

import sys

from flow_coordinator.cli import main

sys.exit(main())
