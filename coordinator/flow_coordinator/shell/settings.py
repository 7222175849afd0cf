"""From settings to what the core wants to know."""

from __future__ import annotations

from flow.settings.sections import Settings
from flow_coordinator.core.config import CoreConfig


def core_config(settings: Settings) -> CoreConfig:
    """Spell the settings as plain values. Raises ``ConfigError`` for impossible timing."""
    retry = settings.retry
    return CoreConfig(
        timing=settings.timing(),
        version=version(),
        limits=dict(settings.resources),
        retry_count=retry.count,
        retry_delay_s=retry.delay_s,
        retry_delay_max_s=retry.delay_max_s,
        retry_jitter=retry.jitter,
        disable_window_s=retry.disable_window_s,
        disable_hard_timeout_s=retry.disable_hard_timeout_s,
        crash_max=retry.crash_max,
        timeout_s=retry.timeout_s,
        external_check_s=settings.coordinator.external_check_s,
        extend_s=settings.coordinator.extend_s,
        packages_bytes_max=settings.coordinator.packages_bytes_max,
    )


def version() -> str:
    """Return the version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("flow-workflows")
    except PackageNotFoundError:
        return "unknown"
