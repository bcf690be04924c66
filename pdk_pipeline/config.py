"""Settings: every PDK_* variable and every key of pdk.toml, in one place, with its default and its meaning."""

from __future__ import annotations

import difflib
import functools
import os
from datetime import time
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import attrs

from pdk_pipeline.config_sources import ENV_PREFIX, default_home, gathered
from pdk_pipeline.errors import BadSetting
from pdk_pipeline.keep import MOST_DAYS, Keep
from pdk_pipeline.timetable import Timetable
from pdk_pipeline.values import (
    BROKER_ADDRESS,
    DIRECTORY,
    DOMAIN,
    FILE,
    RECIPIENT,
    SECRET,
    SENDER,
    TEXT,
    TIME_ZONE,
    USER_AND_PASSWORD,
    Refused,
    Secret,
    absolute,
    amount,
    choice,
    kinds_of,
    optional,
    parts,
    setting,
    several,
    tables,
    whole,
)

_PORT = optional(whole(1, 65_535))


@attrs.frozen(kw_only=True, init=False)
class Settings:
    """Everything that can be set. The environment (PDK_NAME) wins over pdk.toml (name), that over the default."""

    # Not pydantic, which takes longer to load than many a command to run: 75 ms each time.

    home: Path = setting(
        DIRECTORY,
        attrs.Factory(default_home),
        "directory of the database, the spool and the embedded broker's files; only PDK_HOME can set it",
    )
    broker_url: Secret | None = setting(
        BROKER_ADDRESS, None, "address of a Redis of your own; without one, `pdk up` or this process does the work"
    )
    broker_ca_file: Path | None = setting(
        optional(FILE), None, "certificates to trust a rediss:// broker by, in place of the machine's own"
    )
    broker_cert_file: Path | None = setting(
        optional(FILE), None, "our own certificate, for a broker that asks for one (tls-auth-clients)"
    )
    broker_key_file: Path | None = setting(optional(FILE), None, "its key")
    timezone: str = setting(TIME_ZONE, "", "the site's time zone, e.g. Europe/Berlin; empty is the machine's own")
    import_roots: list[Path] = setting(
        several(DIRECTORY), [], "directories that a networked broker's tasks may name files in, besides the spool"
    )
    recurring: list[str] = setting(
        several(TEXT), ["daily"], "prefixes of run names that recur: daily is for daily_2026-11-23 and daily_latest"
    )
    settle_seconds: float = setting(amount(), 30, "a log in incoming/ is taken once it has not changed for so long")
    resend_seconds: float = setting(
        amount(), 120, "a claimed log that was not imported for so long is handed over again"
    )
    most_attempts: int = setting(
        whole(1), 3, "a log whose import was killed at each attempt is quarantined at this one"
    )
    record_limit_mb: int = setting(whole(1, 512), 64, "a record larger than this is quarantined, in MB")
    writer_wait_seconds: float = setting(
        amount(), 600, "how long a command waits for another one that is writing the database"
    )
    submit_limit_mb: int = setting(whole(1, 500), 256, "the largest log that `pdk submit` sends, in MB when compressed")
    general_processes: int = setting(whole(1), 2, "processes of the general worker that `pdk up` starts")
    flower_address: str = setting(TEXT, "127.0.0.1", "where Flower listens")
    flower_port: int | None = setting(
        optional(whole(0, 65_535)), None, "port of Flower; by default 5555 or the next free one, 0 is any"
    )
    flower_basic_auth: Secret | None = setting(
        USER_AND_PASSWORD, None, "user:password for Flower; opens its API too, so whoever has it can run tasks"
    )
    metrics_port: int | None = setting(
        _PORT, None, "port on which `pdk up` serves figures for Prometheus; empty is none"
    )
    log_level: str = setting(choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO", "DEBUG, INFO, WARNING or ERROR")
    nights: dict[str, Timetable] = setting(
        tables(Timetable), {"daily": {}}, "classes of nights and when each starts; tables [nights.NAME]"
    )
    keep: dict[str, Keep] = setting(
        tables(Keep),
        {},
        "which runs are kept how long; tables [keep.NAME], NAME a prefix as in `recurring` or a pattern; "
        "the first that fits a run counts, and what none fits stays",
    )
    size_limit_gb: float | None = setting(
        optional(amount(may_be_least=False)),
        None,
        "when the database holds more than so many GB, its oldest runs go too",
    )
    keep_archive_days: int | None = setting(
        optional(whole(1, MOST_DAYS)), None, "how long logs stay in the archive; empty is for ever"
    )
    keep_ledger_days: int = setting(whole(7), 90, "how long it is known which logs were imported whose runs are gone")
    backup_directory: Path | None = setting(
        optional(DIRECTORY), None, "where `pdk backup` and every night put a backup"
    )
    keep_backups: int = setting(whole(1), 7, "so many backups stay in a directory of them")
    administrator: str = setting(RECIPIENT, "", "who is told when a step of a night fails; empty is nobody")
    mail_domain: str = setting(
        DOMAIN, "", "appended to contacts without an @, e.g. example.org; empty leaves them to the mail server"
    )

    smtp_host: str = setting(
        TEXT, "", "the mail server; without one, mails are written as files into the home's outbox/"
    )
    smtp_port: int | None = setting(_PORT, None, "its port; by default 587, 465 with tls, 25 with none")
    smtp_security: str = setting(
        choice("starttls", "tls", "none"),
        "starttls",
        "starttls, tls (encrypted from the start) or none (no password then)",
    )
    smtp_ca_file: Path | None = setting(
        optional(FILE), None, "certificates to trust beside the machine's own, for a server with one of the site's"
    )
    smtp_user: str = setting(TEXT, "", "name to log in with at the mail server; empty: no login")
    smtp_password: Secret | None = setting(SECRET, None, "its password")
    smtp_timeout_seconds: float = setting(
        amount(0, 600, may_be_least=False), 30, "how long the mail server may take for each answer"
    )
    mail_from: str = setting(
        SENDER, "", "sender of mails, e.g. Test reports <pdk@example.org>; empty is pdk@ this machine"
    )
    fallback_address: str = setting(
        RECIPIENT, "", "who is told of failing and missing tests that have no contact; empty is nobody"
    )
    lease_seconds: float = setting(
        amount(1, 86_400), 300, "a message whose delivery was begun is taken up by another worker after so long"
    )
    redelivery_seconds: float = setting(
        amount(), 60, "pause after a first failed delivery; it doubles with each one, up to an hour"
    )
    give_up_days: float = setting(amount(), 4, "a message that could not be delivered for so long is given up")
    keep_messages_days: float = setting(
        amount(), 90, "how long what was sent is kept, to tell of the same run only what is new"
    )

    def __init__(self, **given: Any) -> None:
        """`given` wins over what is set anywhere. Raises BadSetting, Refused."""
        self.__attrs_init__(**{name: value for name, (value, _) in gathered(KINDS).items()} | given)

    @functools.cached_property
    def database(self) -> Path:
        """The one SQLite file."""
        return self.home / "pdk.db"

    @functools.cached_property
    def spool(self) -> Path:
        """The directory of incoming/, processing/, archive/ and quarantine/."""
        return self.home / "spool"

    @functools.cached_property
    def outbox(self) -> Path:
        """The directory of mails that no server was there for, and of deliveries under way."""
        return self.home / "outbox"

    @functools.cached_property
    def run_directory(self) -> Path:
        """Files of the processes that run: sockets, pids, the embedded broker's data, logs."""
        return self.home / "run"

    @functools.cached_property
    def zone(self) -> ZoneInfo | None:
        """The site's time zone; None is the machine's own."""
        return ZoneInfo(self.timezone) if self.timezone else None


KINDS = kinds_of(Settings)
"""The settings that there are, by name."""


def misspelled() -> dict[str, str]:
    """Variables of the environment that look like a setting and are none, each with the one that may be meant.

    They cannot be refused: Pandokia's runners have PDK_ variables of their own.
    """
    known = {ENV_PREFIX + name.upper() for name in KINDS} | {"PDK_CONFIG"}
    known |= {f"{ENV_PREFIX}{name.upper()}_FILE" for name, kind in KINDS.items() if kind.is_secret}
    found = {}
    for variable in os.environ.keys() - known:
        if variable.startswith(ENV_PREFIX) and (near := difflib.get_close_matches(variable, known, n=1, cutoff=0.85)):
            found[variable] = near[0]
    return found


def named_from_here() -> dict[str, str]:
    """The variables that name files and directories, such that a process in another directory finds the same ones."""
    variables = [f"{ENV_PREFIX}{name.upper()}" for name, kind in KINDS.items() if kind.names_files]
    variables += [f"{ENV_PREFIX}{name.upper()}_FILE" for name, kind in KINDS.items() if kind.is_secret]
    named = {name: os.environ[name] for name in [*variables, "PDK_CONFIG"] if os.environ.get(name)}
    found = {name: str(absolute(Path(path))) for name, path in named.items()}
    if roots := named.get(variable := f"{ENV_PREFIX}IMPORT_ROOTS"):
        found[variable] = os.pathsep.join(str(absolute(Path(root))) for root in parts(roots))
    return found


def load() -> Settings:
    """The settings as they are now.

    Raises BadSetting, in one line that names the setting and where it was read.
    """
    try:
        return Settings()
    except Refused as error:
        origin = origins().get(error.where.partition(".")[0], "the default")
        raise BadSetting(f"{error.where} from {origin}: {error.problem}") from None


@functools.cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return load()


def origins() -> dict[str, str]:
    """Where each setting that is not at its default was read."""
    return {name: origin for name, (_, origin) in gathered(KINDS).items()}


def holds_secret(path: Path) -> bool:
    """Whether a secret stands in this file itself."""
    came_from = origins()
    return any(came_from.get(name) == str(path) for name, kind in KINDS.items() if kind.is_secret)


class Shown(NamedTuple):
    """One setting, as `pdk config` shows it."""

    name: str
    value: Any
    """Ready for JSON; a secret is masked."""
    origin: str
    meaning: str


def shown() -> list[Shown]:
    """Every setting with its value and where it came from. Raises BadSetting."""
    values = load()
    came_from = origins()
    plain = attrs.asdict(values, filter=lambda _field, value: value is not None, value_serializer=_plain)
    return [
        Shown(field.name, plain.get(field.name), came_from.get(field.name, "default"), field.metadata["meaning"])
        for field in attrs.fields(Settings)
    ]


def _plain(_of: object, _field: object, value: object) -> object:
    return str(value) if isinstance(value, (Path, time, Secret)) else value
