"""Ready-made shapes of tasks: inherited parameters, copies, ranges of dates, external programs.

Authors import these through ``flow`` and ``flow.util``. Nothing here knows of messages or commands.
"""
