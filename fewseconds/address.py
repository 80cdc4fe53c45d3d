"""Addresses of services as people write them: what is wrong with one, and whose machine it names.

One rule for everything that we are told to talk to, so that nothing leaves this machine by accident
and no password that stands in an address is repeated anywhere.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

IN_FILE: Final = "credentials belong into the file of --credentials"
IN_ADAPTER: Final = "credentials belong into the adapter's [credentials]"
AUTHORITIES: Final = "SSL_CERT_FILE"
"""OpenSSL's variable for the authorities that are trusted, instead of the system's."""
SCHEMES: Final = ("http", "https")
PORT_MAX: Final = 65_535
_WRITABLE: Final = re.compile(r"[\x21-\x7e]+")
"""What may stand in a request line (RFC 9112, section 3): a space or a line end would end it."""


def fault(url: str) -> str:
    """What is wrong with the address of a service and what to do; empty if nothing is.

    The sentence repeats nothing of a user, a password or whatever stands in their place.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        example = "HOST:PORT" if "@" in url or not _WRITABLE.fullmatch(url) else url
        return f"does not begin with http:// or https://; write http://{example}"
    if scheme.lower() not in SCHEMES:
        return "begins with neither http:// nor https://, and nothing else is spoken; correct it"
    if not _WRITABLE.fullmatch(url):
        return "holds what no address may (a space, say); write it as %20 and the like"
    # Also behind a slash: a password may hold one, and then all of it is taken for a path.
    if "@" in re.split(r"[?#]", rest, maxsplit=1)[0]:
        return "holds a user or a password, which everybody could read here; leave them out"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        if re.fullmatch(r"[^/?#]*:[^/?#:\]]+", re.split(r"[/?#]", rest, maxsplit=1)[0]):
            return f"its port is no number from 1 to {PORT_MAX}; correct it"
    if port == 0:
        return f"its port is no number from 1 to {PORT_MAX}; correct it"
    return "" if host else "names no host; write http://HOST:PORT"


def shown(url: str) -> str:
    """An address as it may be repeated: without what stands before its last ``@``."""
    before, at, after = url.rpartition("@")
    scheme = before.partition("://")[0] + "://" if "://" in before else ""
    return repr(f"{scheme}…@{after}") if at else repr(url)


def allowed(host: str, hosts: Sequence[str]) -> bool:
    """Whether a host is this machine, or one of those that were named.

    This machine is ``localhost`` or a loopback address: whoever answers for another name can change
    his mind about where it leads.
    """
    name = host.lower()
    if name == "localhost" or name in {one.strip("[]").lower() for one in hosts}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check(url: str, hosts: Sequence[str], option: str = "", secrets: str = "") -> None:
    """Raise UsageError unless ``url`` is an address on this machine or on one of ``hosts``.

    ``option`` is where it was written; ``secrets`` says where credentials belong.
    """
    place = f"{option} {shown(url)}".strip()
    trouble = fault(url)
    if trouble:
        more = f"; {secrets}" if secrets and "password" in trouble else ""
        raise UsageError(f"{place}: {trouble}{more}")
    host = urlsplit(url).hostname or ""
    if not allowed(host, hosts):
        message = (
            f"{place}: is not on this machine; if you may put load on it, say so with "
            f"--allow-host {host}"
        )
        raise UsageError(message)
    trusted = os.environ.get(AUTHORITIES)
    if url.lower().startswith("https:") and trusted and not Path(trusted).is_file():
        # OpenSSL would say nothing, and then trust nobody.
        message = f"{AUTHORITIES} {trusted!r}: is no file; name one with certificates, as PEM"
        raise UsageError(message)
