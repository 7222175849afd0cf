"""Where results are: a target says whether it exists, and how it is read and written.

``base`` has what all targets share, ``local`` files of this host (written atomically), ``formats``
how bytes become text, ``mock`` targets for tests. Nothing here knows tasks, messages or settings.
"""
