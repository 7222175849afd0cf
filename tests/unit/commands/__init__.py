"""Commands and runs on this machine, as far as no engine is needed."""
