"""Kinds of values that settings have, each with what it takes and what a person is told who gets it wrong."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from pdk_pipeline import addresses
from pdk_pipeline.errors import BadAddress

BROKER_SCHEMES = ("redis://", "rediss://", "redis+socket://")


def _known_time_zone(name: str) -> str:
    if name:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {name!r}; an example is 'Europe/Berlin'") from None
    return name


def _broker_address(url: SecretStr | None) -> SecretStr | None:
    text = url.get_secret_value() if url else ""
    if not text:
        return None
    # The value may hold a password, so the messages do not repeat it.
    if not text.startswith(BROKER_SCHEMES):
        raise ValueError(f"a broker's address begins with one of {', '.join(BROKER_SCHEMES)}")
    if not text.startswith("redis+socket://") and not _is_network_address(text):
        raise ValueError(
            "a broker's address is written redis://user:password@host:6379/0; "
            "in the password / is written %2F, ? %3F, # %23, @ %40 and : %3A"
        )
    return url


def _is_network_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_whole = parts.netloc.count("@") <= 1 and "@" not in parts.query + parts.fragment
        return is_whole and parts.port != 0 and re.fullmatch(r"/?\d*", parts.path) is not None
    except ValueError:
        return False


def _user_and_password(secret: SecretStr | None) -> SecretStr | None:
    if secret is None or not secret.get_secret_value():
        return None
    if not all(secret.get_secret_value().partition(":")):
        raise ValueError("it is written user:password")
    return secret


def several(text: str) -> list[str]:
    """The parts of a list as it is written in the environment: with commas, or with colons as in PATH."""
    return [part.strip() for part in text.replace(os.pathsep, ",").split(",") if part.strip()]


def _several(value: object) -> object:
    return several(value) if isinstance(value, str) else value


def _tables(value: object) -> object:
    """In the environment tables are written as TOML has them in one line: {daily = {at = 06:00}}."""
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        raise ValueError("tables are written as TOML has them in one line: {name = {key = value}}") from None


def absolute(path: Path) -> Path:
    """A path as the settings hold it. Raises ValueError."""
    try:
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  (Path.absolute keeps `..`)
    except RuntimeError:
        raise ValueError(f"{path}: there is no such user") from None


def _sender(text: str) -> str:
    """A sender as a header can hold it: one address, with or without a name before it."""
    from email.policy import SMTP  # noqa: PLC0415  (slow to load, and seldom wanted)

    if not text:
        return text
    try:
        header = SMTP.header_factory("From", text)
        (address,) = header.addresses
        addresses.clean(address.addr_spec, "")
    except (ValueError, BadAddress):
        header = None
    if header is None or header.defects or not address.domain:
        raise ValueError(f"{text!r:.80} is no sender; an example is 'Test reports <pdk@example.org>'")
    return text


def _recipient(text: str) -> str:
    try:
        return addresses.clean(text, "", may_be_url=True) if text else text
    except BadAddress as error:
        raise ValueError(str(error)) from None


Item = TypeVar("Item")
Several = Annotated[list[Item], BeforeValidator(_several)]
Tables = Annotated[dict[str, Item], BeforeValidator(_tables)]
"""By name; in pdk.toml [setting.NAME]."""

Directory = Annotated[Path, AfterValidator(absolute)]
File = Directory
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
UpperCase = Annotated[str, BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)]
TimeZone = Annotated[str, AfterValidator(_known_time_zone)]
BrokerAddress = Annotated[SecretStr | None, AfterValidator(_broker_address)]
UserAndPassword = Annotated[SecretStr | None, AfterValidator(_user_and_password)]
Sender = Annotated[str, AfterValidator(_sender)]
Recipient = Annotated[str, AfterValidator(_recipient)]
