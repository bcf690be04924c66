"""`pdk ok`."""

from __future__ import annotations

from pathlib import Path

import click

from pdk_pipeline.cli.base import Command, as_json, print_json, quiet


@click.command(cls=Command)
@click.argument("okfiles", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@quiet
@as_json
def ok(okfiles: tuple[Path, ...], dry_run: bool, quiet: bool, as_json: bool) -> int:
    """Make the outputs of tests their new references.

    \b
        pdk ok --dry-run okfile/test_flat.sh.okfile
        pdk ok okfile/*

    Each line of an okfile is `output reference`, relative to the okfile's directory. Nothing is copied unless every
    output of every okfile is there; the outputs and the okfiles stay.
    """
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.runner import okfiles as domain

    pairs = domain.checked(pair for okfile in okfiles for pair in domain.read(okfile))
    rows = [(pair.what, str(pair.output), str(pair.reference)) for pair in pairs]
    if not dry_run:
        domain.accept([pair for pair, (what, *_) in zip(pairs, rows, strict=True) if what != "same"])
    if as_json:
        print_json([dict(zip(("what", "output", "reference"), row, strict=True)) for row in rows])
    elif not quiet:
        print_table(("would be" if dry_run else "was", "output", "reference"), rows)
    return 0
