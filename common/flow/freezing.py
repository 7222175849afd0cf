"""Maps and lists that cannot be changed, under the names they have in Luigi."""

from flow.parameters.container import FrozenOrderedDict, recursively_freeze, recursively_unfreeze

__all__ = ["FrozenOrderedDict", "recursively_freeze", "recursively_unfreeze"]
