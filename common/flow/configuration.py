"""Luigi's configuration files under the names they have in Luigi."""

from flow.settings.luigi_files import (
    InterpolationMissingEnvvarError,
    LuigiConfigParser,
    LuigiTomlParser,
    add_config_path,
    get_config,
)

__all__ = [
    "InterpolationMissingEnvvarError",
    "LuigiConfigParser",
    "LuigiTomlParser",
    "add_config_path",
    "get_config",
]
