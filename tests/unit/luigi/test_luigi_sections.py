"""Luigi's configuration files as the weakest place of flow's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.errors import ConfigError
from flow.settings.sections import Settings, load

CFG = """
[email]
receiver = ops@example.com
format = HTML
force_send = yes
traceback_max_length = 99
[smtp]
host = mail.example.com
port = 2525
timeout = 3
no_tls = True
password = hush
[core]
email-prefix = [etl]
error-email = ignored@example.com
log_level = WARNING
[sqlalchemy]
marker-table = marks
[redis]
marker_prefix = old
[worker]
keep_alive = true
[Load]
date = 2020-01-01
"""

#: Told, as by Luigi, where a name of the file has dashes.
DASHES = "ignore:.*with dashes.*:DeprecationWarning"


def read(folder: Path, **env: str) -> Settings:
    return load(env=env, cwd=folder, system=folder / "none.toml")


@pytest.mark.filterwarnings(DASHES)
def test_sections_with_a_counterpart_are_taken_and_others_left(tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text(CFG)
    s = read(tmp_path)
    assert (s.email.receiver, s.email.format, s.email.force_send) == (
        "ops@example.com",
        "html",
        True,
    )
    assert (s.email.prefix, s.email.traceback_characters_max) == ("[etl]", 99)
    assert (s.smtp.host, s.smtp.port, s.smtp.timeout_s, s.smtp.no_tls) == (
        "mail.example.com",
        2525,
        3.0,
        True,
    )
    assert s.smtp.password == "hush"
    assert s.logs.level == "warning"
    assert (s.sql.marker_table, s.redis.marker_prefix) == ("marks", "old")
    assert str(tmp_path / "luigi.cfg") in s.source("email.receiver")


@pytest.mark.filterwarnings(DASHES)
def test_settings_of_flow_are_stronger(tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text(CFG)
    (tmp_path / "flow.toml").write_text('email.receiver = "me@example.com"')
    s = read(tmp_path, FLOW_SMTP__PORT="25")
    assert (s.email.receiver, s.email.format, s.smtp.port) == ("me@example.com", "html", 25)


def test_file_of_another_name_and_toml_are_found_as_luigi_finds_them(tmp_path: Path) -> None:
    (tmp_path / "else.cfg").write_text("[email]\nreceiver = a@x.org\n")
    assert read(tmp_path, LUIGI_CONFIG_PATH=str(tmp_path / "else.cfg")).email.receiver == "a@x.org"
    (tmp_path / "luigi.toml").write_text('[email]\nreceiver = "b@x.org"\nforce_send = true\n')
    assert read(tmp_path).email.receiver == ""
    s = read(tmp_path, LUIGI_CONFIG_PARSER="toml")
    assert (s.email.receiver, s.email.force_send) == ("b@x.org", True)


def test_impossible_value_names_the_file_and_never_a_password(tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text("[smtp]\nport = many\n")
    with pytest.raises(ConfigError, match=r"luigi\.cfg: \[smtp\] port"):
        read(tmp_path)
    (tmp_path / "luigi.cfg").unlink()
    (tmp_path / "flow.toml").write_text("smtp.password = 4711")
    with pytest.raises(ConfigError, match=r"\[smtp\] password") as caught:
        read(tmp_path)
    assert "4711" not in str(caught.value)


def test_logging_conf_file_is_taken_from_where_the_program_runs(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "luigi.cfg").write_text("[core]\nlogging_conf_file = logging.ini\n")
    env = {"LUIGI_CONFIG_PATH": str(tmp_path / "etc" / "luigi.cfg"), "HOME": str(tmp_path)}
    found = load(env=env, cwd=tmp_path, system=tmp_path / "none")
    assert found.logs.config == str(tmp_path / "logging.ini")
