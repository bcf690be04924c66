"""Settings: where they come from, which wins, and what a person is told who got one wrong."""

from __future__ import annotations

import contextlib
from datetime import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdk_pipeline import config, config_sources
from pdk_pipeline.errors import BadSetting
from tests.machine import needs_permissions

SECRET = "hunter2"


@pytest.fixture
def toml(tmp_path):
    """Write pdk.toml."""
    (tmp_path / "home").mkdir()

    def write(text: str | bytes) -> Path:
        path = tmp_path / "home" / "pdk.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def refusal() -> str:
    with pytest.raises(BadSetting) as refused:
        config.load()
    told = str(refused.value)
    assert "\n" not in told
    assert told.startswith("A setting cannot be used: ")
    return told.removeprefix("A setting cannot be used: ")


def shown(name: str) -> tuple[object, str]:
    return next((setting.value, setting.origin) for setting in config.shown() if setting.name == name)


# Where they come from -------------------------------------------------------------------------------------------


def test_without_anything_the_defaults_hold(monkeypatch):
    monkeypatch.delenv("PDK_HOME")
    settings = config.load()
    assert settings.home == config_sources.default_home()
    assert settings.settle_seconds == 30
    assert settings.recurring == ["daily"]
    assert settings.broker_url is None
    assert settings.zone is None
    assert {setting.origin for setting in config.shown()} == {"default"}


def test_the_environment_wins_over_the_file_and_that_over_the_default(toml, monkeypatch):
    path = toml("settle_seconds = 5\nresend_seconds = 6\n")
    monkeypatch.setenv("PDK_SETTLE_SECONDS", "7.5")
    settings = config.load()
    assert (settings.settle_seconds, settings.resend_seconds, settings.most_attempts) == (7.5, 6, 3)
    assert shown("settle_seconds") == (7.5, "the environment, PDK_SETTLE_SECONDS")
    assert shown("resend_seconds") == (6, str(path))
    assert shown("most_attempts") == (3, "default")


def test_the_file_may_lie_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "site.toml").write_text("settle_seconds = 5\n")
    monkeypatch.setenv("PDK_CONFIG", str(tmp_path / "site.toml"))
    assert config.load().settle_seconds == 5


def test_paths_in_the_file_are_meant_from_its_own_directory_wherever_it_is_read(toml, tmp_path, monkeypatch):
    path = toml(
        'backup_directory = "../backups"\nimport_roots = ["logs", "/more", "~/mine"]\n'
        'smtp_ca_file = "~/ca.pem"\nsmtp_password_file = "password"\n'
    )
    path.with_name("password").write_text("secret")
    for elsewhere in (tmp_path, Path("/")):
        monkeypatch.chdir(elsewhere)
        settings = config.load()
        assert settings.backup_directory == tmp_path / "backups"
        assert settings.import_roots == [path.parent / "logs", Path("/more"), Path("~/mine").expanduser()]
        assert settings.smtp_ca_file == Path("~/ca.pem").expanduser()
        assert settings.smtp_password.plain == "secret"
    toml('import_roots = "logs:more"\n')
    assert config.load().import_roots == [path.parent / "logs", path.parent / "more"]


def test_an_empty_variable_is_as_good_as_none(toml, monkeypatch):
    toml('settle_seconds = 5\nbroker_url = "redis://there"\n')
    for name in ("SETTLE_SECONDS", "BROKER_URL", "BROKER_URL_FILE", "CONFIG"):
        monkeypatch.setenv(f"PDK_{name}", "")
    settings = config.load()
    assert settings.settle_seconds == 5
    assert settings.broker_url
    monkeypatch.setenv("PDK_HOME", "")
    assert config.load().home == config_sources.default_home()


def test_every_setting_can_come_from_the_environment_and_says_what_it_means(monkeypatch):
    for name in config.KINDS:
        monkeypatch.setenv(f"PDK_{name.upper()}", "x")
    assert config.origins() == {name: f"the environment, PDK_{name.upper()}" for name in config.KINDS}
    monkeypatch.undo()
    assert all(setting.meaning for setting in config.shown())


@pytest.mark.parametrize("told", ["daily,weekly", "daily:weekly", "daily, weekly", ",daily,,weekly,"])
def test_a_list_in_the_environment(monkeypatch, told):
    monkeypatch.setenv("PDK_RECURRING", told)
    assert config.load().recurring == ["daily", "weekly"]


def test_a_list_in_the_file(toml):
    toml('import_roots = ["/logs", "~/more"]\nrecurring = "daily"\n')
    assert config.load().import_roots == [Path("/logs"), Path("~/more").expanduser()]
    assert config.load().recurring == ["daily"]
    assert shown("import_roots")[0] == ["/logs", str(Path("~/more").expanduser())]


def test_directories_are_absolute_and_the_home_directory_of_a_user_is_known(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PDK_HOME", "there/../here")
    settings = config.load()
    assert settings.home == tmp_path / "here"
    assert settings.database == tmp_path / "here" / "pdk.db"
    monkeypatch.setenv("PDK_HOME", "~/pdk")
    assert config.load().home == Path.home() / "pdk"
    assert config_sources.config_path() == Path.home() / "pdk" / "pdk.toml"


def test_a_log_level_may_be_written_small(monkeypatch):
    monkeypatch.setenv("PDK_LOG_LEVEL", "debug")
    assert config.load().log_level == "DEBUG"


# What is wrong is said in one line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SETTLE_SECONDS", "soon", "'soon': it must be a number"),
        ("SETTLE_SECONDS", "-1", "'-1': it must be 0 or more"),
        ("RESEND_SECONDS", "inf", "'inf': it must be a number"),
        ("WRITER_WAIT_SECONDS", "nan", "'nan': it must be a number"),
        ("MOST_ATTEMPTS", "0", "'0': it must be 1 or more"),
        ("MOST_ATTEMPTS", "2.5", "'2.5': it must be a whole number"),
        ("RECORD_LIMIT_MB", "100000", "'100000': it must be 512 or less"),
        ("SIZE_LIMIT_GB", "0", "'0': it must be more than 0"),
        ("TIMEZONE", "Europe/Belin", "'Europe/Belin': there is no such time zone; an example is 'Europe/Berlin'"),
        ("TIMEZONE", "Europe", "'Europe': there is no such time zone"),
        ("TIMEZONE", "../../etc/passwd", "there is no such time zone"),
        ("BROKER_URL", "http://there", "a broker's address begins with one of redis://, rediss://, redis+socket://"),
        ("FLOWER_BASIC_AUTH", SECRET, "it is written user:password"),
        ("FLOWER_BASIC_AUTH", f":{SECRET}", "it is written user:password"),
        ("LOG_LEVEL", "loud", "'loud': it must be one of DEBUG, INFO, WARNING, ERROR"),
        ("FLOWER_PORT", "70000", "'70000': it must be 65535 or less"),
        ("IMPORT_ROOTS", "/logs:~nobody-at-all/logs", "'~nobody-at-all/logs': there is no such user"),
    ],
)
def test_a_bad_value_in_the_environment_names_its_variable(monkeypatch, name, value, told):
    monkeypatch.setenv(f"PDK_{name}", value)
    refused = refusal()
    assert refused.startswith(f"{name.lower()} from the environment, PDK_{name}: ")
    assert told in refused
    assert SECRET not in refused


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('settle_seconds = "soon"', "'soon': it must be a number"),
        ("settle_seconds = [1]", "[1]: it must be a number"),
        ("settle_seconds = true", "True: it must be a number"),
        ("settle_seconds = nan", "nan: it must be a number"),
        ("timezone = 5", "5: it must be text"),
        ("recurring = 5", "5: it must be a list"),
        ("recurring = [5]", "5: it must be text"),
        ("import_roots = {a = 1}", "{'a': 1}: it must be a list"),
        ("broker_url = 5", ": it must be text"),
        ("broker_url = ['redis://u:hunter2@there']", ": it must be text"),
    ],
)
def test_a_bad_value_in_the_file_names_its_key_and_the_file(toml, line, told):
    path = toml(line)
    refused = refusal()
    assert refused.startswith(f"{line.split()[0]} from {path}: ")
    assert told in refused
    assert SECRET not in refused


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ('nights.daily.at = "25:00"', "nights.daily.at from {}: '25:00': it must be a time, written 06:00"),
        ("nights.daily.at = 6", "nights.daily.at from {}: 6: it must be a time, written 06:00"),
        ("nights.daily.att = 1", "nights.daily.att from {}: there is no such setting"),
        ("nights.daily.days = ['mon', 'sunday']", "nights.daily.days from {}: 'sunday': a day is one of mon, tue"),
        ("nights.daily.notify = 'often'", "nights.daily.notify from {}: 'often': it must be true or false"),
        ("nights.daily.run = '{class}'", "nights.daily.run from {}: '{{class}}': it needs {{date}} or {{yesterday}}"),
        ("nights.daily = 5", "nights.daily from {}: 5: it must be a table"),
        ("nights = 5", "nights from {}: 5: it must be tables by name"),
        ("keep.daily.days = 0", "keep.daily.days from {}: 0: it must be 1 or more"),
        ("[keep.daily]", "keep.daily from {}: it needs days, last or passing_logs_days"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_by_its_place(toml, tables, told):
    path = toml(tables)
    assert refusal().startswith(told.format(path))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.times() | st.dates(),
    lambda some: st.lists(some) | st.dictionaries(st.text() | st.sampled_from(["at", "days", "last"]), some),
    max_leaves=6,
)


@given(value=ANYTHING)
def test_whatever_is_written_is_taken_or_refused(value):
    for kind in config.KINDS.values():
        with contextlib.suppress(ValueError):
            kind.take(value)


def test_tables_in_the_environment_are_written_in_one_line(monkeypatch):
    monkeypatch.setenv("PDK_NIGHTS", '{daily = {at = "22:30", days = ["mon", 1], notify = false}, weekly = {}}')
    daily, weekly = config.load().nights.values()
    assert (daily.at, daily.days, daily.notify) == (time(22, 30), ["mon", 1], False)
    assert (weekly.at, weekly.days, weekly.notify) == (time(6, 0), [], True)
    assert shown("nights")[0]["daily"]["at"] == "22:30:00"
    assert "deadline" not in shown("nights")[0]["daily"]
    monkeypatch.setenv("PDK_NIGHTS", "{daily = ")
    assert "tables are written as TOML has them in one line" in refusal()


def test_an_unknown_key_gets_a_suggestion(toml):
    path = toml("setle_seconds = 5\n")
    assert refusal() == f"setle_seconds in {path}: there is no such setting. Did you mean settle_seconds?"
    toml("[web]\nport = 80\n")
    assert refusal() == f"web in {path}: there is no such setting. `pdk config` lists them."


def test_the_home_directory_cannot_be_set_inside_itself(toml):
    path = toml('home = "/elsewhere"\n')
    assert refusal() == f"home in {path}. Set it with the environment variable PDK_HOME."


def test_a_file_that_is_no_toml_is_named_with_the_line(toml):
    path = toml("settle_seconds = 5\nresend_seconds =\n")
    assert refusal().startswith(f"{path} is not valid TOML: ")
    assert "line 2" in refusal()
    toml(b'timezone = "\xff"\n')
    assert refusal().startswith(f"{path} is not valid TOML: ")


def test_a_directory_in_place_of_the_file(tmp_path):
    (tmp_path / "home" / "pdk.toml").mkdir(parents=True)
    assert refusal() == f"{tmp_path / 'home' / 'pdk.toml'} cannot be read: Is a directory"


@needs_permissions
def test_a_file_that_may_not_be_read(toml):
    path = toml("settle_seconds = 5\n")
    path.chmod(0)
    assert refusal() == f"{path} cannot be read: Permission denied"


def test_a_file_that_is_named_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PDK_CONFIG", str(tmp_path / "none.toml"))
    assert refusal() == f"PDK_CONFIG names {tmp_path / 'none.toml'}, which does not exist"


def test_a_home_of_nobody(monkeypatch):
    monkeypatch.setenv("PDK_HOME", "~nobody-at-all/pdk")
    assert refusal() == "PDK_HOME: ~nobody-at-all/pdk: there is no such user"


# Secrets --------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_masked(monkeypatch, toml):
    toml(f'flower_basic_auth = "ann:{SECRET}"\n')
    monkeypatch.setenv("PDK_BROKER_URL", f"redis://:{SECRET}@there")
    assert shown("broker_url") == ("********", "the environment, PDK_BROKER_URL")
    assert shown("flower_basic_auth")[0] == "********"
    assert SECRET not in repr(config.shown())
    assert SECRET not in repr(config.load())


def test_a_secret_can_come_from_a_file_that_the_environment_or_the_settings_file_names(monkeypatch, toml, tmp_path):
    (tmp_path / "broker").write_text(f"redis://:{SECRET}@there\n")
    (tmp_path / "flower").write_text(f"ann:{SECRET}\n")
    path = toml(f'flower_basic_auth_file = "{tmp_path / "flower"}"\n')
    monkeypatch.setenv("PDK_BROKER_URL_FILE", str(tmp_path / "broker"))
    settings = config.load()
    assert settings.broker_url.plain == f"redis://:{SECRET}@there"
    assert settings.flower_basic_auth.plain == f"ann:{SECRET}"
    assert shown("broker_url") == ("********", f"the file {tmp_path / 'broker'}, named by PDK_BROKER_URL_FILE")
    assert shown("flower_basic_auth")[1] == f"the file {tmp_path / 'flower'}, named by flower_basic_auth_file in {path}"


def test_a_secret_in_the_environment_wins_over_every_file(monkeypatch, toml, tmp_path):
    (tmp_path / "broker").write_text("redis://file")
    toml('broker_url = "redis://toml"\nbroker_url_file = "/nowhere"\n'.replace("/nowhere", str(tmp_path / "broker")))
    monkeypatch.setenv("PDK_BROKER_URL_FILE", str(tmp_path / "broker"))
    monkeypatch.setenv("PDK_BROKER_URL", "redis://environment")
    assert config.load().broker_url.plain == "redis://environment"


def test_a_secret_file_that_is_broken_is_told_of_and_never_quoted(monkeypatch, tmp_path, toml):
    secret = tmp_path / "secret"
    monkeypatch.setenv("PDK_BROKER_URL_FILE", str(secret))
    assert refusal() == f"PDK_BROKER_URL_FILE: {secret} cannot be read: No such file or directory"
    secret.write_text(" \n")
    assert refusal() == f"PDK_BROKER_URL_FILE: {secret} is empty"
    secret.write_bytes(SECRET.encode() + b"\xff")
    assert refusal() == f"PDK_BROKER_URL_FILE: {secret} cannot be read: it is not a file of text"
    secret.write_text(SECRET)
    assert SECRET not in refusal()
    assert f"broker_url from the file {secret}, named by PDK_BROKER_URL_FILE: " in refusal()
    monkeypatch.delenv("PDK_BROKER_URL_FILE")
    path = toml("broker_url_file = 5\n")
    assert refusal() == f"broker_url_file in {path}: 5 cannot be read: No such file or directory"


def test_only_a_secret_can_be_kept_in_a_file(toml):
    toml('timezone_file = "/etc/timezone"\n')
    assert "there is no such setting" in refusal()


# Variables that are none ----------------------------------------------------------------------------------------


def test_a_variable_that_looks_like_a_setting_is_found(monkeypatch):
    monkeypatch.setenv("PDK_SETTLE_SECOND", "5")
    monkeypatch.setenv("PDK_BROKER_URL_FILE", "")
    monkeypatch.setenv("PDK_PROJECT", "a runner's own")
    assert config.misspelled() == {"PDK_SETTLE_SECOND": "PDK_SETTLE_SECONDS"}
