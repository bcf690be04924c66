"""`pdk gen_contact`, `pdk import_contact` and `pdk contacts`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

import click

from pdk_pipeline.cli.base import Command, as_json, local, print_json, say


@click.command("gen_contact", cls=Command)
@click.argument("project")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
def gen_contact(project: str, directory: Path) -> None:
    """Print the contacts that the pdk_contacts files of a test tree say, for `pdk import_contact`.

    \b
        pdk gen_contact calib /where/the/tests/are > file.contact

    A pdk_contacts file stands in a directory of tests and holds an address a line, name or name@host; # begins a
    comment. It is for the tests in the directory and beneath, where further files add to it. The lines printed are
    project,prefix,address; a prefix begins at the directory that holds a file pandokia_top, at DIR if there is none.
    """
    from pdk_pipeline import contacts as domain
    from pdk_pipeline.config import settings
    from pdk_pipeline.errors import BadContacts
    from pdk_pipeline.formats.text import readable

    name = readable(os.fsencode(project)).strip()
    if not name or not name.isprintable():
        raise click.BadParameter("a project has a name, of letters that can be printed")
    rules = list(domain.in_tree(name, directory, settings().mail_domain))
    if not rules:
        raise BadContacts(f"there is no address in a {domain.CONTACTS_FILE} file in {directory} or beneath")
    sys.stdout.buffer.write(domain.written(rules).encode())
    sys.stdout.buffer.flush()


def script() -> None:
    """The script `pdk_gen_contact`: the same as `pdk gen_contact`."""
    from pdk_pipeline.cli import main

    main(["gen_contact", *sys.argv[1:]])


@click.command("import_contact", cls=Command)
@click.argument("file", type=click.File("rb"), default="-")
@local
@as_json
def import_contact(file: IO[bytes], local: bool, as_json: bool) -> int:
    """Replace the contacts of the projects in a file, or on standard input.

    \b
        pdk import_contact < file.contact
        echo calib,flat,hal@example.org | pdk import_contact

    A line is project,prefix,address. Contacts of projects that the file does not name stay. A line without an address
    (calib,,) only names its project: alone, it takes the project's contacts away. If any line is bad, every bad line
    is told and nothing is changed.
    """
    from pdk_pipeline import contacts as domain
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.text import counted, readable
    from workers.dispatch import Call

    if file.isatty():
        say("reading lines of project,prefix,address from the terminal, until Ctrl-D")
    text = readable(file.read())
    _, bad = domain.parse(text, settings().mail_domain)
    if bad:
        for line in bad:
            say(f"line {line.line}: {line.reason}")
        say(f"{counted(len(bad), 'bad line')}, nothing is changed")
        if as_json:
            print_json({"projects": [], "bad_lines": [line._asdict() for line in bad]})
        return 1
    replaced = outcome(Call("import_contact", (text,), "contacts"), local=local)
    if as_json:
        print_json(replaced | {"bad_lines": []})
    else:
        rows = [(one["project"], one["before"], one["now"]) for one in replaced["projects"]]
        print_table(("project", "contacts before #", "now #"), rows)
    return 0


@click.command("contacts", cls=Command)
@click.argument("project", default="")
@click.argument("test", default="")
@as_json
def contacts(project: str, test: str, as_json: bool) -> None:
    """List the contacts, or those of a project, or those who are told about one test.

    \b
        pdk contacts
        pdk contacts calib flat/test_bias
    """
    from pdk_pipeline import contacts as domain
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        rules = domain.rules(db, settings().mail_domain, project)
    if test:
        rules = [rule for rule in rules if domain.Cover([rule]).of(project, test)]
    if as_json:
        print_json([rule._asdict() for rule in rules])
    elif rules:
        print_table(("project", "prefix", "address"), rules)
    else:
        say("nobody" if project else "there are no contacts yet; `pdk import_contact` brings them")
