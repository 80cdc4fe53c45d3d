"""A forgotten password: a code comes by SMS to the phone that the consumer has always had.

Whoever asks is told the same, whether the login exists or not (OWASP, *Forgot Password Cheat
Sheet*); a code is used once, for ten minutes, and survives five wrong guesses.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.contracts import SMS_SEND, SmsRequest
from mock_psp import templates

if TYPE_CHECKING:
    from mock_psp.outgoing import Outgoing

DIGITS: Final = 6
VALID_S: Final = 600
TRIES: Final = 5
AGAIN_S: Final = 30
"""Nobody's phone is made to ring more often than that: *assumption*."""
CODES_MAX: Final = 100_000

log = logging.getLogger(__name__)


class _Code:
    __slots__ = ("code", "made_s", "tries")

    def __init__(self, made_s: float) -> None:
        self.code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
        self.made_s, self.tries = made_s, TRIES


class Resets:
    """The codes that have been sent and not been used."""

    def __init__(self, sms_url: str, outgoing: Outgoing) -> None:
        """``sms_url`` is where the SMS gateway answers."""
        self._url, self._outgoing = sms_url + SMS_SEND, outgoing
        self._codes: dict[str, _Code] = {}

    async def send(self, login: str, phone: str) -> None:
        """Send a code for ``login`` to ``phone``, unless one has just been sent."""
        now_s = time.monotonic()
        before = self._codes.get(login)
        if before is not None and now_s - before.made_s < AGAIN_S:
            return
        made = _Code(now_s)
        self._codes.pop(login, None)
        self._codes[login] = made
        if len(self._codes) > CODES_MAX:
            del self._codes[next(iter(self._codes))]
        message = SmsRequest(
            to=phone,
            sender=templates.SENDER,
            entity_id=templates.ENTITY_ID,
            template_id=templates.CODE,
            text=templates.filled(templates.CODE, made.code),
            reference=f"{templates.CODE_REFERENCE}{secrets.token_hex(8)}",
        )
        headers = {"content-type": "application/json"}
        got = await self._outgoing.send("POST", self._url, msgspec.json.encode(message), headers)
        if not isinstance(got, tuple) or got[0] >= 300:  # noqa: PLR2004 - not one of the 2xx
            # The caller must not learn from this that the login exists.
            log.warning("a code for a new password was not sent")

    def used(self, login: str, code: str) -> bool:
        """Whether the code is right; it is worth nothing afterwards."""
        known = self._codes.get(login)
        if known is None or time.monotonic() - known.made_s > VALID_S:
            return False
        if hmac.compare_digest(code.encode(), known.code.encode()):
            del self._codes[login]
            return True
        known.tries -= 1
        if not known.tries:
            del self._codes[login]
        return False
