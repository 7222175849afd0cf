"""The libraries besides flow that tasks are written with: how each answers what the seam asks.

What lives here: the dialect of luigi (and of gokart, which builds on it), luigi's own policy,
markers and configuration, the command lines and keywords that were written for it.
Who calls it: ``flow.seam``, which loads a dialect when a process has imported its library.
What must never enter: an import of luigi in a process that did not import it.
"""
