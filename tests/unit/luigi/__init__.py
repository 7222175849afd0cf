"""What Luigi and gokart ask of flow, without a process."""
