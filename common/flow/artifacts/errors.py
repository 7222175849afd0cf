"""What can be wrong with an artifact, each error with what to do next."""

from __future__ import annotations

from flow.errors import UsageError
from flow.targets.paths import PathEscapes


class ArtifactError(UsageError):
    """A task asks something of an artifact that cannot be."""


class BadArtifactName(ArtifactError, PathEscapes):
    """The name would lead out of the task's own folder, or no file system could hold it."""


class UnknownContent(ArtifactError):
    """No format belongs to the suffix, or the value does not fit to it."""


class MissingArtifact(ArtifactError, FileNotFoundError):
    """What should be loaded is not there."""
