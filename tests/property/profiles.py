"""How hard the stateful tests try: little and always the same by default, much when asked."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

#: Hypothesis makes a failure smaller for five minutes; who ends it before hears of a timeout only.
LONG_S_MAX = 600
#: A busy machine is no failure.
_CHECKS = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def short(examples: int, steps: int = 1) -> settings:
    """The same examples at each start: what passes here passes there."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=_CHECKS,
    )


def long(examples: int, steps: int = 1) -> settings:
    """New examples at each start; ``--hypothesis-seed`` repeats them."""
    return settings(short(examples, steps), derandomize=False, print_blob=True)
