"""What is wrong with the broker and the workers, beside what `pdk_pipeline.doctor` finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.doctor import Finding, State
from pdk_pipeline.errors import BrokerUnavailable
from pdk_pipeline.status import Need
from workers import broker, connection, redis_server
from workers.asking import consumed_queues
from workers.connection import client
from workers.queues import PRIORITY_STEPS, QUEUES

__all__ = ["Work", "client", "examine", "look", "waiting"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from pdk_pipeline.config import Settings


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at the broker that commands would use, and at who works for it."""
    from redis.exceptions import RedisError  # noqa: PLC0415  (as long to load as all the rest)

    url = broker.address(settings)
    if url is None:
        text = "none; commands do the work in their own process"
        yield Finding("broker", State.GOOD, text, "`pdk up` starts one, PDK_BROKER_URL names yours.")
        return
    try:
        with client(url) as redis:
            yield from _server(url, redis)
    except (RedisError, OSError, ValueError) as error:
        yield Finding("broker", State.BAD, *_in_words(url, error))
        return
    yield _workers()


class Work(NamedTuple):
    """How it stands with the broker and those who work for it."""

    broker: str | None
    """Its address without the password; None when there is none."""
    workers: dict[str, list[str]]
    """The workers of each queue."""
    queues: dict[str, int]
    """Tasks that wait in each."""
    needs: list[Need]


def look(settings: Settings) -> Work:
    """Who works, and what waits."""
    from redis.exceptions import RedisError  # noqa: PLC0415

    url = broker.address(settings)
    if url is None:
        return Work(None, {}, {}, [])
    try:
        with client(url) as redis:
            queues = {queue.name: waiting(redis, queue.name) for queue in QUEUES}
            workers = consumed_queues()
    except (RedisError, OSError, ValueError) as error:
        text, advice = _in_words(url, error)
        return Work(broker.shown(url), {}, {}, [Need(f"the broker {text}", advice)])
    idle = [name for name in queues if name not in workers]
    advice = "`pdk up` starts them, or `celery -A workers worker -Q NAME`."
    needs = [Need(f"no worker takes from the queue {name}", advice) for name in idle]
    return Work(broker.shown(url), workers, queues, needs)


def _in_words(url: str, error: Exception) -> tuple[str, str]:
    fault = connection.fault(url, error)
    if isinstance(fault, BrokerUnavailable):
        told = f"{broker.shown(url)} does not answer: {error}"
        return told, "Start it, or set PDK_BROKER_URL right; --local works without it."
    return fault.particulars, fault.advice


def waiting(redis: Redis, queue: str) -> int:
    """How many tasks wait in a queue."""
    # Each priority is a list of its own: the name alone, or with the priority behind a separator.
    names = [queue, *(f"{queue}\x06\x16{priority}" for priority in PRIORITY_STEPS[1:])]
    return sum(int(redis.llen(name)) for name in names)


def _server(url: str, redis: Redis) -> Iterator[Finding]:
    about: dict[str, Any] = redis.info("server")
    told = str(about.get("valkey_version") or about["redis_version"])
    name = f"{about.get('server_name', 'redis')} {told}"
    if tuple(int(part) for part in told.split(".")[:2]) < redis_server.OLDEST_VERSION:
        yield Finding("broker", State.BAD, f"{broker.shown(url)} is {name}", "Celery needs 6.2 or later.")
    else:
        yield Finding("broker", State.GOOD, f"{broker.shown(url)}, {name}")
    yield from _keeps_what_it_is_given(redis)


def _keeps_what_it_is_given(redis: Redis) -> Iterator[Finding]:
    from redis.exceptions import ResponseError  # noqa: PLC0415

    try:
        policy = redis.config_get("maxmemory-policy")["maxmemory-policy"]
        persistent = redis.config_get("appendonly")["appendonly"] == "yes"
    except (ResponseError, KeyError):
        yield Finding("broker", State.ODD, "it does not tell how it keeps data", "Its user may not ask CONFIG GET.")
        return
    if policy != "noeviction":
        text = f"with maxmemory-policy {policy} it throws tasks away when memory is short"
        yield Finding("broker", State.BAD, text, "Set it to noeviction.")
    if not persistent:
        text = "without appendonly it forgets tasks when it is restarted"
        yield Finding("broker", State.ODD, text, "Set appendonly to yes.")


def _workers() -> Finding:
    queues = consumed_queues()
    idle = [queue.name for queue in QUEUES if queue.name not in queues]
    if idle:
        advice = "`pdk up` starts them, or `celery -A workers worker -Q NAME`."
        return Finding("workers", State.BAD, f"no worker takes from the queue {', nor from '.join(idle)}", advice)
    return Finding("workers", State.GOOD, ", ".join(f"{queue}: {', '.join(queues[queue])}" for queue in sorted(queues)))
