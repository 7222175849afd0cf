"""``python -m flow_coordinator``."""

from flow_coordinator.cli import main

main()
