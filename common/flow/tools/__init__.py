"""Where Luigi keeps its tools: ``flow.tools.range``, ``flow.tools.deps``."""
