"""`pdk metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import Command, as_json, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

HIGHEST_PORT = 65_535


@click.command(cls=Command)
@click.option("--listen", metavar="[ADDRESS:]PORT", help="Serve them over HTTP instead of printing them once.")
@as_json
def metrics(listen: str | None, as_json: bool) -> None:
    """Print figures for Prometheus: results imported, quarantined, missing, how long the last night took.

    \b
        pdk metrics > /var/lib/node_exporter/pdk.prom
        pdk metrics --listen 127.0.0.1:9808
    """
    from pdk_pipeline import metrics as domain
    from pdk_pipeline.config import settings

    if as_json:
        print_json([figure._asdict() for figure in domain.read(settings())])
    elif listen:
        _serve(listen)
    else:
        from prometheus_client import generate_latest

        click.echo(generate_latest(_registry()).decode(), nl=False)


class _Collector:
    """Reads the figures anew whenever they are asked for."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        from pdk_pipeline import metrics as domain
        from pdk_pipeline.config import settings

        families: dict[str, Any] = {}
        for figure in domain.read(settings()):
            make = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            family = families.setdefault(figure.name, make(figure.name, figure.meaning, labels=list(figure.labels)))
            family.add_metric(list(figure.labels.values()), figure.value)
        return iter(families.values())


def _registry() -> Any:
    from pdk_pipeline.errors import ServerPartMissing

    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise ServerPartMissing("prometheus_client", advice="`pip install 'pdk-pipeline[server]'` brings it.") from None
    registry = CollectorRegistry()
    registry.register(_Collector())
    return registry


def _serve(listen: str) -> None:
    address, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) <= HIGHEST_PORT):
        raise click.BadParameter(f"{listen} is not [ADDRESS:]PORT", param_hint="--listen")
    registry = _registry()
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(int(port), address or "127.0.0.1", registry)
    except OSError as error:
        raise click.ClickException(f"nothing can be served on {listen}: {error.strerror}") from None
    say(f"metrics: http://{address or '127.0.0.1'}:{server.server_port}/metrics; Ctrl-C stops")
    thread.join()
