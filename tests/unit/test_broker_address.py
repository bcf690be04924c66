"""The broker's address: what can be one, and how it is shown without its password."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from attrs import evolve

from pdk_pipeline import config
from pdk_pipeline.errors import BadSetting
from workers import broker


@pytest.mark.parametrize(
    "address",
    [
        "redis://", "redis://host", "redis://host/", "redis://host:6379/0", "rediss://user:pass%2Fword@host:6380/0",
        "redis://:password@[::1]:6379", "redis+socket:///run/broker.sock",
    ],
)  # fmt: skip
def test_an_address(address, monkeypatch):
    monkeypatch.setenv("PDK_BROKER_URL", address)
    assert config.load().broker_url.plain == address


@pytest.mark.parametrize(
    "address",
    [
        "http://u:secret@h", "redis://u:secret@h:port/0", "redis://u:secret@h:99999/0", "redis://u:secret@[::1/0",
        "redis://u:secret@h/x", "redis://u:sec/ret@h:1/0", "redis://u:secret@b@h:1/0", "redis://u:#secret@h:1/0",
    ],
)  # fmt: skip
def test_what_is_none_is_told_in_one_line_without_the_password(address, monkeypatch):
    monkeypatch.setenv("PDK_BROKER_URL", address)
    with pytest.raises(BadSetting, match="a broker's address ") as refused:
        config.load()
    assert "\n" not in str(refused.value)
    assert "sec" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://user:password@host:6379/0", "redis://user:…@host:6379/0"),
        ("rediss://:password@host", "rediss://:…@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://user:pa:ss@word@host", "redis://user:…@host"),
        ("redis+socket:///run/a@b.sock", "redis+socket:///run/a@b.sock"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    assert broker.shown(address) == shown


@pytest.mark.parametrize("name", ["#1", "a?b", "100%25", "a b", "é"])
def test_a_home_may_be_called_anything(name, tmp_path, home):
    home = evolve(home, home=tmp_path / name)
    assert urlsplit(broker.socket_address(home)).path == str(broker.socket_path(home))
    assert unquote(str(broker.socket_path(home))) == str(broker.socket_path(home))
