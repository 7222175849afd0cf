"""Who surely ends what a worker starts: the agent's guard, and the killing of whole trees.

What lives here: the supervisor, which guards the agent and forks templates, and what relays tell
it of what those fork (brood, relay); what it shares with the agent (control); what a forked child
lets go of (birth); how leftovers are found (marker) and trees are killed (kill).
Who calls it: the command ``flow-worker`` starts the supervisor; the other rooms use birth, kill,
marker, control and brood, and never the supervisor.
What must never enter: leases and decisions about them; sockets to the coordinator; user code.
"""
