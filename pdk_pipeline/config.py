"""Settings: every PDK_* variable and every key of pdk.toml, in one place, with its default and its meaning."""

from __future__ import annotations

import difflib
import functools
import itertools
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from pdk_pipeline.config_sources import ENV_PREFIX, default_home, gathered, is_secret, names_files
from pdk_pipeline.errors import BadSetting
from pdk_pipeline.keep import MOST_DAYS, Keep
from pdk_pipeline.timetable import Timetable
from pdk_pipeline.values import (
    Amount,
    BrokerAddress,
    Directory,
    File,
    Recipient,
    Sender,
    Several,
    Tables,
    TimeZone,
    UpperCase,
    UserAndPassword,
    absolute,
    several,
)


class Settings(BaseModel):
    """Everything that can be set. The environment (PDK_NAME) wins over pdk.toml (name), that over the default."""

    # Not pydantic-settings: of that only the joining of the sources was left to use, and to load it takes longer than
    # all of pydantic, each time a command is given.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    home: Directory = Field(
        default_factory=default_home,
        description="directory of the database, the spool and the embedded broker's files; only PDK_HOME can set it",
    )
    broker_url: BrokerAddress = Field(
        default=None, description="address of a Redis of your own; without one, `pdk up` or this process does the work"
    )
    broker_ca_file: File | None = Field(
        default=None, description="certificates to trust a rediss:// broker by, in place of the machine's own"
    )
    broker_cert_file: File | None = Field(
        default=None, description="our own certificate, for a broker that asks for one (tls-auth-clients)"
    )
    broker_key_file: File | None = Field(default=None, description="its key")
    timezone: TimeZone = Field(
        default="", description="the site's time zone, e.g. Europe/Berlin; empty is the machine's own"
    )
    import_roots: Several[Directory] = Field(
        default=[], description="directories that a networked broker's tasks may name files in, besides the spool"
    )
    recurring: Several[str] = Field(
        default=["daily"],
        description="prefixes of run names that recur: daily is for daily_2026-11-23 and daily_latest",
    )
    settle_seconds: Amount = Field(
        default=30, description="a log in incoming/ is taken once it has not changed for so long"
    )
    resend_seconds: Amount = Field(
        default=120, description="a claimed log that was not imported for so long is handed over again"
    )
    most_attempts: int = Field(
        default=3, ge=1, description="a log whose import was killed at each attempt is quarantined at this one"
    )
    record_limit_mb: int = Field(
        default=64, ge=1, le=512, description="a record larger than this is quarantined, in MB"
    )
    writer_wait_seconds: Amount = Field(
        default=600, description="how long a command waits for another one that is writing the database"
    )
    submit_limit_mb: int = Field(
        default=256, ge=1, le=500, description="the largest log that `pdk submit` sends, in MB when compressed"
    )
    general_processes: int = Field(default=2, ge=1, description="processes of the general worker that `pdk up` starts")
    flower_address: str = Field(default="127.0.0.1", description="where Flower listens")
    flower_port: int | None = Field(
        default=None, ge=0, le=65535, description="port of Flower; by default 5555 or the next free one, 0 is any"
    )
    flower_basic_auth: UserAndPassword = Field(
        default=None, description="user:password for Flower; opens its API too, so whoever has it can run tasks"
    )
    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="port on which `pdk up` serves figures for Prometheus; empty is none"
    )
    log_level: UpperCase = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR"
    )
    nights: Tables[Timetable] = Field(
        default={"daily": Timetable()}, description="classes of nights and when each starts; tables [nights.NAME]"
    )
    keep: Tables[Keep] = Field(
        default={},
        description="which runs are kept how long; tables [keep.NAME], NAME a prefix as in `recurring` or a pattern; "
        "the first that fits a run counts, and what none fits stays",
    )
    size_limit_gb: float | None = Field(
        default=None, gt=0, description="when the database holds more than so many GB, its oldest runs go too"
    )
    keep_archive_days: int | None = Field(
        default=None, ge=1, le=MOST_DAYS, description="how long logs stay in the archive; empty is for ever"
    )
    keep_ledger_days: int = Field(
        default=90, ge=7, description="how long it is known which logs were imported whose runs are gone"
    )
    backup_directory: Directory | None = Field(
        default=None, description="where `pdk backup` and every night put a backup"
    )
    keep_backups: int = Field(default=7, ge=1, description="so many backups stay in a directory of them")
    administrator: Recipient = Field(
        default="", description="who is told when a step of a night fails; empty is nobody"
    )
    mail_domain: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?$",
        description="appended to contacts without an @, e.g. example.org; empty leaves them to the mail server",
    )

    smtp_host: str = Field(
        default="", description="the mail server; without one, mails are written as files into the home's outbox/"
    )
    smtp_port: int | None = Field(
        default=None, ge=1, le=65535, description="its port; by default 587, 465 with tls, 25 with none"
    )
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls, tls (encrypted from the start) or none (no password then)"
    )
    smtp_ca_file: File | None = Field(
        default=None, description="certificates to trust beside the machine's own, for a server with one of the site's"
    )
    smtp_user: str = Field(default="", description="name to log in with at the mail server; empty: no login")
    smtp_password: SecretStr | None = Field(default=None, description="its password")
    smtp_timeout_seconds: float = Field(
        default=30, gt=0, le=600, description="how long the mail server may take for each answer"
    )
    mail_from: Sender = Field(
        default="", description="sender of mails, e.g. Test reports <pdk@example.org>; empty is pdk@ this machine"
    )
    fallback_address: Recipient = Field(
        default="", description="who is told of failing and missing tests that have no contact; empty is nobody"
    )
    lease_seconds: float = Field(
        default=300,
        ge=1,
        le=86_400,
        description="a message whose delivery was begun is taken up by another worker after so long",
    )
    redelivery_seconds: Amount = Field(
        default=60, description="pause after a first failed delivery; it doubles with each one, up to an hour"
    )
    give_up_days: Amount = Field(default=4, description="a message that could not be delivered for so long is given up")
    keep_messages_days: Amount = Field(
        default=90, description="how long what was sent is kept, to tell of the same run only what is new"
    )

    def __init__(self, **given: Any) -> None:
        """`given` wins over what is set anywhere. Raises BadSetting, ValidationError."""
        super().__init__(**{name: value for name, (value, _) in gathered(type(self).model_fields).items()} | given)

    @property
    def database(self) -> Path:
        """The one SQLite file."""
        return self.home / "pdk.db"

    @property
    def spool(self) -> Path:
        """The directory of incoming/, processing/, archive/ and quarantine/."""
        return self.home / "spool"

    @property
    def outbox(self) -> Path:
        """The directory of mails that no server was there for, and of deliveries under way."""
        return self.home / "outbox"

    @property
    def run_directory(self) -> Path:
        """Files of the processes that run: sockets, pids, the embedded broker's data, logs."""
        return self.home / "run"

    @property
    def zone(self) -> ZoneInfo | None:
        """The site's time zone; None is the machine's own."""
        return ZoneInfo(self.timezone) if self.timezone else None


def misspelled() -> dict[str, str]:
    """Variables of the environment that look like a setting and are none, each with the one that may be meant.

    They cannot be refused: Pandokia's runners have PDK_ variables of their own.
    """
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {"PDK_CONFIG"}
    known |= {f"{ENV_PREFIX}{name.upper()}_FILE" for name, field in Settings.model_fields.items() if is_secret(field)}
    found = {}
    for variable in os.environ.keys() - known:
        if variable.startswith(ENV_PREFIX) and (near := difflib.get_close_matches(variable, known, n=1, cutoff=0.85)):
            found[variable] = near[0]
    return found


def named_from_here() -> dict[str, str]:
    """The variables that name files and directories, such that a process in another directory finds the same ones."""
    fields = Settings.model_fields.items()
    variables = [f"{ENV_PREFIX}{name.upper()}" for name, field in fields if names_files(field)]
    variables += [f"{ENV_PREFIX}{name.upper()}_FILE" for name, field in fields if is_secret(field)]
    named = {name: os.environ[name] for name in [*variables, "PDK_CONFIG"] if os.environ.get(name)}
    found = {name: str(absolute(Path(path))) for name, path in named.items()}
    if roots := named.get(variable := f"{ENV_PREFIX}IMPORT_ROOTS"):
        found[variable] = os.pathsep.join(str(absolute(Path(root))) for root in several(roots))
    return found


def load() -> Settings:
    """The settings as they are now.

    Raises BadSetting, in one line that names the setting and where it was read.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        problem = str(first["msg"]).removeprefix("Value error, ")
        if str(first["type"]) == "extra_forbidden":
            problem = "there is no such setting"
        elif str(first["type"]) != "value_error" and not is_secret(Settings.model_fields[name]):
            problem = f"{first['input']!r:.80}: {problem}"  # our own messages hold it already
        # In a table: nights.daily.at. What follows a number is the library's own.
        where = ".".join(itertools.takewhile(lambda part: isinstance(part, str), first["loc"]))  # type: ignore[arg-type]
        raise BadSetting(f"{where} from {origins().get(name, 'the default')}: {problem}") from None


@functools.cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return load()


def origins() -> dict[str, str]:
    """Where each setting that is not at its default was read."""
    return {name: origin for name, (_, origin) in gathered(Settings.model_fields).items()}


def holds_secret(path: Path) -> bool:
    """Whether a secret stands in this file itself."""
    came_from = origins()
    return any(came_from.get(name) == str(path) for name, field in Settings.model_fields.items() if is_secret(field))


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
    plain = values.model_dump(mode="json", exclude_none=True)
    return [
        Shown(
            name,
            _masked(getattr(values, name), plain.get(name)),
            came_from.get(name, "default"),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _masked(value: object, plain: object) -> object:
    return "********" if isinstance(value, SecretStr) else plain
