"""`pdk collect`."""

from __future__ import annotations

import click

from pdk_pipeline.cli.base import Command, as_json, local, quiet, say


@click.command(cls=Command)
@local
@quiet
@as_json
def collect(local: bool, quiet: bool, as_json: bool) -> int:
    """Import what lies in the spool's incoming/ now.

    \b
        cp *.pdklog ~/.local/share/pdk/spool/incoming/
        pdk collect

    `pdk up` does the same every three minutes. A log that changed within `settle_seconds` is left for the next time;
    what was imported is moved into the archive.
    """
    from pdk_pipeline.cli.imports import Import, finish
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.text import counted
    from pdk_pipeline.intake import importing
    from workers.call import Call, label

    # The imports are handed over from here, to show how far they are.
    collected = outcome(Call("collect", (False,), "collect"), local=local)
    for problem in collected["left"]:
        say(problem)
    if collected["growing"]:
        say(f"left for the next time: {counted(collected['growing'], 'log')} that changed a moment ago")
    imports = []
    for batch in importing.batches_of_claims(settings(), collected["claims"]):
        claims, files = [claim for claim, _ in batch], [file for _, file in batch]
        imports.append(Import(Call("import_claimed", (claims,), label(files)), files))
    if not imports and not quiet and not as_json:
        say("no logs to import")
    return finish(imports, is_whole=not collected["left"], local=local, quiet=quiet, as_json=as_json)
