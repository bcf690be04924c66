"""A connection of our own to the broker, for what Celery does not ask of it; and what its faults mean to a person."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from pdk_pipeline.config import settings
from pdk_pipeline.errors import BrokerFull, BrokerUnavailable, BrokerUntrusted, NotPermitted, PdkError
from workers import broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from pdk_pipeline.config import Settings


def tls(settings: Settings) -> dict[str, Any] | None:
    """Whom we trust and who we are, for a broker behind rediss://; None for any other.

    Left to itself, Celery's side of such a connection would trust everybody.
    """
    url = broker.address(settings)
    if url is None or not url.startswith("rediss://"):
        return None
    options = {
        "ssl_ca_certs": settings.broker_ca_file,
        "ssl_certfile": settings.broker_cert_file,
        "ssl_keyfile": settings.broker_key_file,
    }
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} | {name: str(path) for name, path in options.items() if path}


def client(url: str, *, decode: bool = True, timeout_seconds: float = 2, connect_seconds: float = 2) -> Redis:
    """A connection that is tried once; `timeout_seconds` is for each answer."""
    from redis import Redis  # noqa: PLC0415  (as long to load as all the rest)
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    secured = tls(settings()) or {} if url.startswith("rediss://") else {}
    return Redis.from_url(
        url.replace("redis+socket://", "unix://"),
        socket_connect_timeout=connect_seconds,
        socket_timeout=timeout_seconds,
        decode_responses=decode,
        retry=Retry(NoBackoff(), 0),
        **secured,
    )


def fault(url: str, error: BaseException) -> PdkError:
    """What went wrong between us and the broker, in words and with advice."""
    from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError  # noqa: PLC0415

    # Celery wraps what redis raises, and redis what the socket does.
    causes = [error, *_causes(error)]
    told = f"{broker.shown(url)}: {error}"
    if any(isinstance(one, AuthenticationError) for one in causes):
        return NotPermitted(told, advice="Are user and password in PDK_BROKER_URL right?")
    if any(isinstance(one, NoPermissionError) for one in causes):
        return NotPermitted(told, advice="PDK_BROKER_URL names a user who may not do this.")
    if any(isinstance(one, OutOfMemoryError) for one in causes):
        return BrokerFull(told, advice="It has reached its maxmemory: do its workers run? `pdk status` tells.")
    for one in causes:
        if isinstance(one, ssl.SSLCertVerificationError):
            advice = "Does broker_ca_file name the CA that signed it, and PDK_BROKER_URL the host that it is for?"
            return BrokerUntrusted(f"{broker.shown(url)}: {one.verify_message}", advice=advice)
    return BrokerUnavailable(told, advice="Is it running, and PDK_BROKER_URL right? `pdk doctor` looks.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


@contextlib.contextmanager
def told_of(url: str) -> Iterator[None]:
    """Raise what goes wrong with the broker in here as an error that a person understands (see `fault`)."""
    from redis.exceptions import RedisError  # noqa: PLC0415

    try:
        yield
    except (RedisError, OSError) as error:
        raise fault(url, error) from None
