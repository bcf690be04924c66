"""`pdk config`."""

from __future__ import annotations

import json

import click

from pdk_pipeline.cli.base import Command, as_json, print_json


@click.command(cls=Command)
@as_json
def config(as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    \b
        PDK_TIMEZONE=Europe/Berlin pdk config

    The environment (PDK_NAME) wins over the file pdk.toml in the home directory (name = …), that over the default.
    A secret is masked; it may also be read from a file that PDK_NAME_FILE, or name_file in pdk.toml, names.
    """
    from pdk_pipeline import config as settings

    shown = settings.shown()
    if as_json:
        print_json([setting._asdict() for setting in shown])
        return
    from pdk_pipeline.cli.tables import print_table

    rows = [(setting.name, _value(setting.value), setting.origin, setting.meaning) for setting in shown]
    print_table(("setting", "value", "from", "meaning"), rows)


def _value(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
