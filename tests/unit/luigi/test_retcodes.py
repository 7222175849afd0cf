"""What a command exits with, with and without ``[retcode]``."""

from __future__ import annotations

import pytest

from flow.client.exitcodes import exit_code
from flow.errors import ExitCode
from flow.settings.luigi_flags import RETCODES
from flow.settings.sections import RetcodeSettings
from tests.support.run_messages import category, summary

NOTHING = summary(category("ran", Load=1))
MISSING = summary(category("missing_external", Ext=1), category("upstream_missing", Load=1))
BOTH = summary(category("failed", Load=1), category("missing_external", Ext=1))


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: code.name)
@pytest.mark.parametrize("found", [None, NOTHING, BOTH], ids=["none", "ran", "both"])
def test_code_without_settings_is_flows_own(code: ExitCode, found: object) -> None:
    assert exit_code(code, found) == int(code)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("configured", "code", "found", "right"),
    [
        ({"task_failed": 3}, 30, BOTH, 3),
        ({"task_failed": 3, "missing_data": 4}, 30, BOTH, 4),  # the greatest, as with Luigi
        ({"missing_data": 0}, 30, BOTH, 30),
        ({"missing_data": 7}, 20, MISSING, 7),
        ({"missing_data": 0}, 20, MISSING, 0),
        ({"missing_data": 0, "not_run": 5}, 20, MISSING, 5),
        ({"not_run": 9}, 25, summary(category("disabled", Load=1)), 9),
        ({"task_failed": 3}, 0, NOTHING, 0),
        ({"task_failed": 3}, 50, BOTH, 50),
        ({"task_failed": 3}, 130, None, 130),
        ({"task_failed": 3}, 2, None, 2),
        ({"unhandled_exception": 4}, 40, None, 4),
    ],
    ids=str,
)
def test_code_that_is_configured_counts(
    monkeypatch: pytest.MonkeyPatch,
    configured: dict[str, int],
    code: int,
    found: object,
    right: int,
) -> None:
    for name, value in configured.items():
        monkeypatch.setenv(f"FLOW_RETCODE__{name.upper()}", str(value))
    assert exit_code(code, found) == right  # type: ignore[arg-type]


def test_names_are_those_of_the_settings() -> None:
    assert set(RETCODES) == set(RetcodeSettings.__struct_fields__)
