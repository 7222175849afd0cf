"""The processes of tasks: the template, its main loop, and how a task runs.

What lives here: the template, which imports one run's program; the runner that executes; what a
task changes around itself (surroundings, facets, offspring), the capture of output; which code is
the user's and what it hashes to (sources, places), where it is kept compiled (compiled), and what
was sent along (packages, requirements, shelf).
Who calls it: the supervisor forks templates, which fork the rest.
What must never enter: leases and decisions about them; sockets to the coordinator.
"""
