"""`pdk_environment` files: the environment variables of the tests in a directory and beneath.

    [default]
    doors = $podbay/doors/open.com
    PATH = /opt/odyssey/bin:$PATH

    [os=linux]
    [osver=debian12]
    [cpu=x86_64]
    [hostname=hal]
    podbay = /data/discovery/podbay

Of one file the sections that fit this machine apply in this order: default, os, osver, cpu, hostname (or host); the
later one wins. Files apply from the top of the test tree down; the inner one wins. `$NAME` and `${NAME}` in a value
are what that variable is in the end, wherever it is defined. In its own definition a variable is what it was further
out: an earlier section, a file further up, the environment of `pdk run`. `$$` is a dollar sign. A `$NAME` that is not
defined stays as it is written.
Source: Pandokia, "Customizing the environment". There a PATH of a file further up was lost to the inner one.
"""

from __future__ import annotations

import configparser
import platform
import re
from functools import cached_property
from typing import TYPE_CHECKING

from pdk_pipeline.errors import BadEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE = "pdk_environment"

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)
_KINDS = ("os", "osver", "cpu", "hostname", "host")

Layer = dict[str, str]
"""The definitions of one section."""


class Machine:
    """What sections can ask of this machine."""

    @cached_property
    def sections(self) -> tuple[str, ...]:
        """The sections that apply here, in the order in which they do."""
        system = platform.system().lower()
        full = platform.node().lower()
        short = full.partition(".")[0]
        hosts = [f"{kind}={name}" for name in dict.fromkeys((short, full)) for kind in ("hostname", "host")]
        return ("default", f"os={system}", f"osver={self._version(system)}", f"cpu={self._cpu()}", *hosts)

    @staticmethod
    def _version(system: str) -> str:
        """The system's name and main version: debian12, rhel9, darwin24."""
        try:
            about = platform.freedesktop_os_release()
        except OSError:
            return system + platform.release().partition(".")[0]
        return about.get("ID", system).lower() + about.get("VERSION_ID", "").partition(".")[0]

    @staticmethod
    def _cpu() -> str:
        cpu = platform.machine().lower()
        return "x86" if re.fullmatch("i[3456]86", cpu) else cpu


class Environments:
    """The environments of the directories of test trees, each file read once."""

    def __init__(self, outside: Mapping[str, str], machine: Machine | None = None) -> None:
        """`outside`: the environment of `pdk run`, in which nothing is replaced."""
        self.outside = dict(outside)
        self._machine = machine or Machine()
        self._layers: dict[Path, list[Layer]] = {}

    def of(self, directory: Path, top: Path) -> dict[str, str]:
        """The environment of the tests in `directory`, whose tree begins at `top`. Raises BadEnvironment."""
        return _resolved(self.outside, list(self._down_to(directory, top)))

    def _down_to(self, directory: Path, top: Path) -> Iterator[Layer]:
        if directory != top:
            yield from self._down_to(directory.parent, top)
        if directory not in self._layers:
            self._layers[directory] = list(self._read(directory / FILE))
        yield from self._layers[directory]

    def _read(self, path: Path) -> Iterator[Layer]:
        parser = configparser.RawConfigParser(
            default_section="",  # none of ours is special
            delimiters=("=",),
            strict=False,
            interpolation=None,
        )
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of variables keep their case
        try:
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                parser.read_file(file)
        except FileNotFoundError:
            return
        except OSError as error:
            raise BadEnvironment(f"{path}: {error.strerror}") from None
        except configparser.Error as error:
            raise BadEnvironment(f"{path}: {' '.join(str(error).split())}") from None
        found: dict[str, Layer] = {}
        for section in parser.sections():
            name = _folded(section, path)
            found[name] = found.get(name, {}) | dict(parser[section])
        yield from (found[section] for section in self._machine.sections if section in found)


def _folded(section: str, path: Path) -> str:
    kind, equals, value = (part.strip().lower() for part in section.partition("="))
    if kind != "default" and (kind not in _KINDS or not equals):
        raise BadEnvironment(f"{path}: [{section}]", advice=f"Sections are [default] and [{'=…], ['.join(_KINDS)}=…].")
    return f"{kind}={value}" if equals else kind


def _resolved(outside: Mapping[str, str], layers: list[Layer]) -> dict[str, str]:
    """The environment that the layers make, the outermost first."""
    definitions: dict[str, list[str]] = {}
    for layer in layers:
        for name, value in layer.items():
            definitions.setdefault(name, []).append(value)
    # How many definitions of each variable count while one of it is being worked out.
    depth = {name: len(values) for name, values in definitions.items()}

    def value_of(name: str) -> str | None:
        if not depth.get(name):
            return outside.get(name)
        depth[name] -= 1
        try:
            return _REFERENCE.sub(replacement, definitions[name][depth[name]])
        finally:
            depth[name] += 1

    def replacement(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        value = value_of(match[2] or match[3])
        return match[0] if value is None else value

    return {**outside, **{name: value_of(name) or "" for name in definitions}}
