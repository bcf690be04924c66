"""Addresses that reports are sent to."""

from __future__ import annotations

import re

from pdk_pipeline.errors import BadAddress

LONGEST = 254
"""Characters. Source: RFC 5321, 4.5.3.1.3, a path without its angle brackets."""

# What needs no quoting anywhere: nothing of this can begin a header, a recipient or an option of another program.
_ADDRESS = re.compile(r"(?!-)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+(@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)?", re.ASCII)


LONGEST_URL = 2000
"""Characters; some services put whole keys into theirs."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+-]*://[!-~]+", re.ASCII)


def clean(text: str, mail_domain: str, *, may_be_url: bool = False) -> str:
    """An address as it is kept: checked, and completed with `mail_domain` (unless that is empty) if it has no @.

    In lower case: mail systems make no difference, and however somebody is spelled in two places, they get one
    message. `may_be_url`: a service's URL (slack://…) is an address too, and stays as it is; let only those write one
    who may have this machine talk to any other. Raises BadAddress.
    """
    address = text.strip(" ")
    if may_be_url and "://" in address:
        return _clean_url(address)
    if mail_domain and "@" not in address:
        address = f"{address}@{mail_domain}"
    if len(address) > LONGEST:
        raise BadAddress(f"{address[:40]!r}…", advice=f"It has {len(address):,} characters; {LONGEST} are possible.")
    if not _ADDRESS.fullmatch(address):
        raise BadAddress(repr(address), advice="It is a name, or name@host, without spaces and without quotes.")
    return address.lower()


def _clean_url(url: str) -> str:
    # It holds tokens, so the messages do not repeat it.
    if len(url) > LONGEST_URL:
        raise BadAddress("a service's URL", advice=f"It has {len(url):,} characters; {LONGEST_URL:,} are possible.")
    if not _URL.fullmatch(url):
        raise BadAddress("a service's URL", advice="It is scheme://…, without spaces, other letters as %C3%A4.")
    return url
