"""`pdk subscribe`, `pdk unsubscribe` and `pdk subscriptions`."""

from __future__ import annotations

import click

from pdk_pipeline.cli.base import NUMBER, Command, as_json, local, print_json, say, shown
from pdk_pipeline.cli.waiting import outcome

KINDS = ("none", "summary", "full", "full-always", "changes")


@click.command(cls=Command)
@click.argument("address")
@click.option("-p", "--project", default="", metavar="NAME", help="Of this project; otherwise of all.")
@click.option("--kind", type=click.Choice(KINDS), default="full", show_default=True, help="Which report.")
@click.option("--most-lines", type=NUMBER, help="List so many tests of a project; otherwise 100.")
@local
@as_json
def subscribe(address: str, project: str, kind: str, most_lines: int | None, local: bool, as_json: bool) -> None:
    """Have reports sent to an address, whether or not it is a contact of the tests.

    \b
        pdk subscribe hal@example.org --project calib
        pdk subscribe stanley@example.org --kind summary
        pdk subscribe slack://TOKEN/… --kind changes

    \b
    none         nothing, not even as a contact of failing tests
    summary      the counts only
    full         all problems, when there are any
    full-always  all problems, and a message when there are none
    changes      only what is not as it was the time before

    It takes the place of what the address had for the project. What it has for one project counts before what it has
    for all.
    """
    from pdk_pipeline import addresses, channels
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.text import counted
    from workers.dispatch import Call

    address = addresses.clean(address, settings().mail_domain, may_be_url=True)
    who = channels.shown(address)
    taken = outcome(Call("subscribe", (address, project.strip(), kind, most_lines), who), local=local)
    if not taken["is_known_project"]:
        say(f"there are no tests of a project {project} so far")
    if as_json:
        print_json(taken)
        return
    lines = f", at most {counted(most_lines, 'test')} listed" if most_lines else ""
    click.echo(f"{who}: {kind} of {shown(project.strip()) or 'every project'}{lines}")


@click.command(cls=Command)
@click.argument("address")
@click.option("-p", "--project", metavar="NAME", help="Of this project; otherwise whatever the address has.")
@local
@as_json
def unsubscribe(address: str, project: str | None, local: bool, as_json: bool) -> int:
    """End subscriptions.

    \b
        pdk unsubscribe hal@example.org

    Contacts are told about their tests all the same; `pdk subscribe ADDRESS --kind none` ends that too. Of a service's
    URL the short form that `pdk subscriptions` shows is enough.
    """
    from pdk_pipeline.channels import shown as masked
    from pdk_pipeline.formats.text import counted
    from workers.dispatch import Call

    ended = outcome(Call("unsubscribe", (address, project), masked(address)), local=local)
    who = shown(ended["address"])
    if as_json:
        print_json(ended)
    elif ended["removed"]:
        click.echo(f"{who}: {counted(ended['removed'], 'subscription')} ended")
    else:
        say(f"{who} has no such subscription")
    return 0 if ended["removed"] else 1


@click.command(cls=Command)
@as_json
def subscriptions(as_json: bool) -> None:
    """List who is sent which report of which project."""
    from pdk_pipeline import subscriptions as domain
    from pdk_pipeline.channels import shown as masked
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        found = [one._replace(address=masked(one.address)) for one in domain.every(db, settings().mail_domain)]
    if as_json:
        print_json([one._asdict() for one in found])
    elif found:
        rows = [(one.address, one.project or "(every project)", str(one.kind), one.most_lines) for one in found]
        print_table(("address", "project", "kind", "most lines #"), rows)
    else:
        say("there are no subscriptions yet; `pdk subscribe` takes one")
