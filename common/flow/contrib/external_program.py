"""Luigi's ``contrib.external_program``."""

from __future__ import annotations

from flow.patterns.programs import (
    ExternalProgramRunContext,
    ExternalProgramRunError,
    ExternalProgramTask,
    ExternalPythonProgramTask,
)

__all__ = [
    "ExternalProgramRunContext",
    "ExternalProgramRunError",
    "ExternalProgramTask",
    "ExternalPythonProgramTask",
]
