"""One part at a time, no process or socket but where that is the part."""
