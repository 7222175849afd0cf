"""The real cores and the real codec in a simulated world under seeded faults.

``kernel`` is the virtual clock, ``network`` loses and delays what ``coordinator``, ``host`` and
``clients`` say, ``processes`` play runner and planner for the tasks of ``graph``, ``truth`` is
the judge: it knows what really executes and compares it with the promises. ``faults`` decides
what breaks and when, ``world`` ties one seed together, ``mutants`` removes one protocol rule each.

Nothing here reads a real clock or unseeded randomness: one seed is one story.
``python -m tests.simulation --seed N`` tells it.
"""
