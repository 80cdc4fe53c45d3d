"""Is a callback authentic? The Standard Webhooks scheme, over the bytes that came.

The signature covers ``id.timestamp.body``. It is checked before the body is read as JSON, on the
raw bytes, because two texts can mean the same JSON and only one of them was signed. Comparisons
take the same time wherever they differ, and all keys of the rotation are tried.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from fewseconds.contracts import REPLAY_WINDOW_S, SIGNATURE_HEADERS, signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIGNATURES_MAX: Final = 8
"""How many signatures one callback may offer: more than a key rotation needs."""
_SECONDS: Final = re.compile(r"[0-9]{1,12}")


class NotAuthenticError(Exception):
    """A callback that nobody who knows a key has sent now."""


def checked_id(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now_s: int) -> str:
    """The signed id of a callback; raises NotAuthenticError, which says what is wrong."""
    found = [headers.get(name, "") for name in SIGNATURE_HEADERS]
    if not all(found):
        missing = [name for name, value in zip(SIGNATURE_HEADERS, found, strict=True) if not value]
        raise NotAuthenticError(f"header {missing[0]} is missing")
    message_id, timestamp, offered = found
    if _SECONDS.fullmatch(timestamp) is None:
        raise NotAuthenticError("webhook-timestamp is not a number of seconds")
    timestamp_s = int(timestamp)
    if abs(now_s - timestamp_s) > REPLAY_WINDOW_S:
        raise NotAuthenticError(f"webhook-timestamp is more than {REPLAY_WINDOW_S} s away from now")
    wanted = [signature(key, message_id, timestamp_s, body).encode() for key in keys]
    candidates = [one.encode() for one in offered.split(" ")[:SIGNATURES_MAX]]
    # Every pair is compared, so that the time taken does not tell which one fits.
    matches = [hmac.compare_digest(one, right) for one in candidates for right in wanted]
    if not any(matches):
        raise NotAuthenticError("webhook-signature does not fit the body")
    return message_id
