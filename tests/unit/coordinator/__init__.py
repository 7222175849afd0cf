"""The coordinator: its core event by event, its loop, what it keeps in files."""
