"""Files of this host under the names they have in Luigi."""

from flow.targets.atomic import AtomicFile
from flow.targets.local import LocalFileSystem, LocalTarget

#: Luigi's name of it.
atomic_file = AtomicFile

__all__ = ["LocalFileSystem", "LocalTarget", "atomic_file"]
