"""Kinds of values that settings have, each with what it takes and what a person is told who gets it wrong."""

from __future__ import annotations

import math
import os
import re
import tomllib
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from pdk_pipeline import addresses
from pdk_pipeline.errors import BadAddress

if TYPE_CHECKING:
    from collections.abc import Callable

BROKER_SCHEMES = ("redis://", "rediss://", "redis+socket://")


@dataclass(frozen=True, repr=False)
class Secret:
    """A text that is never shown by mistake."""

    plain: str

    def __str__(self) -> str:
        return "********"

    __repr__ = __str__


class Refused(ValueError):
    """A value that a setting cannot have."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        """The setting; in a table nights.daily.at."""
        self.problem = problem

    def within(self, name: str) -> Refused:
        """The same, told by what holds it."""
        return Refused(f"{name}.{self.where}" if self.where else name, self.problem)


class Kind(NamedTuple):
    """A kind of value."""

    take: Callable[[Any], Any]
    """Makes what a setting holds of what was written: text in the environment, whatever TOML knows in a file.

    Raises ValueError, with words that go behind the value itself.
    """
    is_secret: bool = False
    names_files: bool = False
    is_list: bool = False


def setting(kind: Kind, default: Any, meaning: str) -> Any:
    """A field of a class made by `attrs.frozen`. The class raises Refused when it is given what it cannot be."""
    converter = attrs.Converter(_taken, takes_field=True)
    return attrs.field(default=default, converter=converter, metadata={"kind": kind, "meaning": meaning})


def _taken(value: Any, field: attrs.Attribute[Any]) -> Any:
    kind: Kind = field.metadata["kind"]
    try:
        return kind.take(value)
    except Refused as error:
        raise error.within(field.name) from None
    except ValueError as error:
        raise Refused(field.name, str(error) if kind.is_secret else f"{value!r:.80}: {error}") from None


def kinds_of(settings: type[attrs.AttrsInstance]) -> dict[str, Kind]:
    """The settings that a class has, by name."""
    return {field.name: field.metadata["kind"] for field in attrs.fields(settings)}


# Texts ----------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be text")  # noqa: TRY004  (here and below: what is wrong with a value is one error)
    return value


def choice(*words: str) -> Kind:
    """One of these words, in small letters or large."""
    meant = {word.lower(): word for word in words}

    def take(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in meant:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return meant[value.lower()]

    return Kind(take)


def _time_zone(value: Any) -> str:
    if name := _text(value):
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("there is no such time zone; an example is 'Europe/Berlin'") from None
    return name


_DOMAIN = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?")


def _domain(value: Any) -> str:
    if not _DOMAIN.fullmatch(name := _text(value)):
        raise ValueError("it is no domain; an example is example.org")
    return name


def _sender(value: Any) -> str:
    """A sender as a header can hold it: one address, with or without a name before it."""
    text = _text(value)
    if not text:
        return text
    from email.policy import SMTP  # noqa: PLC0415  (slow to load, and seldom wanted)

    try:
        header = SMTP.header_factory("From", text)
        (address,) = header.addresses
        addresses.clean(address.addr_spec, "")
    except (ValueError, BadAddress):
        header = None
    if header is None or header.defects or not address.domain:
        raise ValueError("it is no sender; an example is 'Test reports <pdk@example.org>'")
    return text


def _recipient(value: Any) -> str:
    text = _text(value)
    try:
        return addresses.clean(text, "", may_be_url=True) if text else text
    except BadAddress as error:
        raise ValueError(str(error)) from None


TEXT = Kind(_text)
TIME_ZONE = Kind(_time_zone)
DOMAIN = Kind(_domain)
SENDER = Kind(_sender)
RECIPIENT = Kind(_recipient)


# Secrets: their messages must not repeat them -------------------------------------------------------------------


def _secret(value: Any) -> Secret | None:
    if isinstance(value, Secret):
        return value
    return Secret(_text(value)) if value not in (None, "") else None


def _broker_address(value: Any) -> Secret | None:
    url = _secret(value)
    if url is None:
        return None
    if not url.plain.startswith(BROKER_SCHEMES):
        raise ValueError(f"a broker's address begins with one of {', '.join(BROKER_SCHEMES)}")
    if not url.plain.startswith("redis+socket://") and not _is_network_address(url.plain):
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


def _user_and_password(value: Any) -> Secret | None:
    secret = _secret(value)
    if secret and not all(secret.plain.partition(":")):
        raise ValueError("it is written user:password")
    return secret


SECRET = Kind(_secret, is_secret=True)
BROKER_ADDRESS = Kind(_broker_address, is_secret=True)
USER_AND_PASSWORD = Kind(_user_and_password, is_secret=True)


# Numbers and times ----------------------------------------------------------------------------------------------


def whole(least: int, most: int | None = None) -> Kind:
    """A whole number from `least` to `most`."""

    def take(value: Any) -> int:
        number = _number(value)
        if not number.is_integer():
            raise ValueError("it must be a whole number")
        return int(_bounded(number, least, most))

    return Kind(take)


def amount(least: float = 0, most: float | None = None, *, may_be_least: bool = True) -> Kind:
    """A number from `least` to `most`, or above `least`."""

    def take(value: Any) -> float:
        number = _bounded(_number(value), least, most)
        if number == least and not may_be_least:
            raise ValueError(f"it must be more than {least}")
        return number

    return Kind(take)


def _number(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("it must be a number")
    return number


def _bounded(number: float, least: float, most: float | None) -> float:
    if number < least:
        raise ValueError(f"it must be {least} or more")
    if most is not None and number > most:
        raise ValueError(f"it must be {most} or less")
    return number


def _flag(value: Any) -> bool:
    try:
        return bool(attrs.converters.to_bool(value))
    except ValueError:
        raise ValueError("it must be true or false") from None


def _clock(value: Any) -> time:
    try:
        at = value if isinstance(value, time) else time.fromisoformat(value)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo:
        raise ValueError("it must be a time, written 06:00")
    return at


FLAG = Kind(_flag)
CLOCK = Kind(_clock)


# Files ----------------------------------------------------------------------------------------------------------


def absolute(path: Path) -> Path:
    """A path as the settings hold it. Raises ValueError."""
    try:
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  (Path.absolute keeps `..`)
    except RuntimeError:
        raise ValueError("there is no such user") from None


def _path(value: Any) -> Path:
    if not isinstance(value, (str, Path)) or value == "":
        raise ValueError("it must be a path")
    return absolute(Path(value))


DIRECTORY = FILE = Kind(_path, names_files=True)


# Kinds made of others -------------------------------------------------------------------------------------------


def optional(kind: Kind) -> Kind:
    """The same or None."""
    return kind._replace(take=lambda value: None if value is None else kind.take(value))


def parts(text: str) -> list[str]:
    """The parts of a list as it is written in the environment: with commas, or with colons as in PATH."""
    return [part.strip() for part in text.replace(os.pathsep, ",").split(",") if part.strip()]


def several(kind: Kind) -> Kind:
    """A list of these."""

    def take(value: Any) -> list[Any]:
        listed = parts(value) if isinstance(value, str) else value
        if not isinstance(listed, list):
            raise ValueError("it must be a list")  # noqa: TRY004
        return [_one(kind, value) for value in listed]

    return kind._replace(take=take, is_list=True)


def _one(kind: Kind, value: Any) -> Any:
    try:
        return kind.take(value)
    except ValueError as error:
        raise Refused("", f"{value!r:.80}: {error}") from None


def tables(of: type[attrs.AttrsInstance]) -> Kind:
    """Tables by name, each with the settings of a class; in pdk.toml [setting.NAME]."""

    def take(value: Any) -> dict[str, Any]:
        named = _inline(value) if isinstance(value, str) else value
        if not isinstance(named, dict):
            raise ValueError("it must be tables by name")  # noqa: TRY004
        return {name: _table(of, name, table) for name, table in named.items()}

    return Kind(take)


def _inline(text: str) -> Any:
    """In the environment tables are written as TOML has them in one line: {daily = {at = "06:00"}}."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ValueError("tables are written as TOML has them in one line: {name = {key = value}}") from None


def _table(of: type[attrs.AttrsInstance], name: str, table: Any) -> Any:
    if isinstance(table, of):
        return table
    if not isinstance(table, dict):
        raise Refused(name, f"{table!r:.80}: it must be a table")
    for key in table.keys() - kinds_of(of).keys():
        raise Refused(f"{name}.{key}", "there is no such setting")
    try:
        return of(**table)
    except Refused as error:
        raise error.within(name) from None
    except ValueError as error:
        raise Refused(name, str(error)) from None
