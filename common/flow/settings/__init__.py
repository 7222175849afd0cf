"""Settings: where they are written, and what they say.

What lives here: the sections with their values and bounds, the places they are read from, Luigi's
configuration files with the places of those, and the words of a command line.
Who calls it: everybody who is about to need a setting; ``sections.load`` is where one is read.
What must never enter: tasks and their parameters; a value that is not written somewhere.
"""
