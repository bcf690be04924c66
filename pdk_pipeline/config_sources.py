"""Where settings are read: the environment, pdk.toml, files that hold a secret. Each remembers where, for errors."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from pdk_pipeline.errors import BadSetting
from pdk_pipeline.values import Kind, absolute, parts

if TYPE_CHECKING:
    from collections.abc import Iterable

ENV_PREFIX = "PDK_"
CONFIG_NAME = "pdk.toml"


def default_home() -> Path:
    """The home directory when PDK_HOME does not name one: the platform's place for a user's data."""
    return Path(platformdirs.user_data_path("pdk"))


Kinds = Mapping[str, Kind]
"""The settings that there are, by name."""

Found = dict[str, tuple[Any, str]]
"""Settings by name, each with its value and where it was read."""


def gathered(kinds: Kinds) -> Found:
    """What is set anywhere; the environment wins over pdk.toml. Raises BadSetting."""
    return _in_file(kinds) | _in_environment(kinds)


def _in_environment(kinds: Kinds) -> Found:
    """PDK_NAME, and for a secret PDK_NAME_FILE, the path of a file that holds it; an empty one is as good as none."""
    found: Found = {}
    for name, kind in kinds.items():
        variable = ENV_PREFIX + name.upper()
        if value := os.environ.get(variable):
            found[name] = value, f"the environment, {variable}"
        elif kind.is_secret and (path := os.environ.get(f"{variable}_FILE")):
            found[name] = _secret_from(path, f"{variable}_FILE")
    return found


def _in_file(kinds: Kinds) -> Found:
    """pdk.toml in the home directory; for a secret also name_file."""
    path = config_path()
    found: Found = {}
    for key, value in _read_toml(path).items():
        name = key.removesuffix("_file")
        if key == "home":
            raise BadSetting(f"home in {path}", advice="Set it with the environment variable PDK_HOME.")
        if key in kinds:
            found[key] = _as_meant(path, kinds[key], value), str(path)
        elif name in kinds and kinds[name].is_secret:
            found.setdefault(name, _secret_from(str(_beside(path, value)), f"{key} in {path}"))
        else:
            raise BadSetting(f"{key} in {path}: there is no such setting", advice=_did_you_mean(key, kinds))
    return found


def _as_meant(file: Path, kind: Kind, value: Any) -> Any:
    """What a setting in a file says: its paths lead to the same places wherever the file is read."""
    if not kind.names_files:
        return value
    if kind.is_list:
        listed = parts(value) if isinstance(value, str) else value
        return [_beside(file, part) for part in listed] if isinstance(listed, list) else listed
    return _beside(file, value)


def _beside(file: Path, path: Any) -> Any:
    """A path that is meant from the directory of `file`."""
    return str(file.parent / path) if isinstance(path, str) and path and not path.startswith("~") else path


def config_path() -> Path:
    """The settings file: pdk.toml in the home directory, or what PDK_CONFIG names."""
    named = os.environ.get("PDK_CONFIG")
    home = os.environ.get("PDK_HOME")
    try:
        return absolute(Path(named)) if named else (absolute(Path(home)) if home else default_home()) / CONFIG_NAME
    except ValueError as error:
        variable, path = ("PDK_CONFIG", named) if named else ("PDK_HOME", home)
        raise BadSetting(f"{variable}: {path}: {error}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if os.environ.get("PDK_CONFIG"):
            raise BadSetting(f"PDK_CONFIG names {path}, which does not exist") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from None


def _secret_from(path: str, told_by: str) -> tuple[str, str]:
    try:
        secret = absolute(Path(path)).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        # Never what a UnicodeDecodeError quotes: it may be part of the secret.
        problem = error.strerror if isinstance(error, OSError) else "it is not a file of text"
        raise BadSetting(f"{told_by}: {path} cannot be read: {problem}") from None
    if not secret:
        # As no setting at all it would quietly mean something else.
        raise BadSetting(f"{told_by}: {path} is empty")
    return secret, f"the file {path}, named by {told_by}"


def _did_you_mean(key: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, names, n=1)
    return f"Did you mean {near[0]}?" if near else "`pdk config` lists them."
