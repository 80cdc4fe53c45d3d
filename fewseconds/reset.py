"""The hook that makes a biller's bills open again, so that a run can use them once more."""

from __future__ import annotations

import http.client
import shlex
import subprocess
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from fewseconds.concealed import concealed
from fewseconds.errors import HarnessError, UsageError

if TYPE_CHECKING:
    import ssl

PATIENCE_S: Final = 120
SAID_MAX: Final = 400


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """A command, or an HTTP request; carried out before every run."""

    command: tuple[str, ...] = ()
    method: str = "POST"
    url: str = ""
    headers: dict[str, str] = {}
    body: bytes = b""

    def says(self) -> str:
        """What it does, without its secrets."""
        if not self.command:
            return f"{self.method} {concealed(self.url)}"
        return concealed(shlex.join(self.command))

    def carry_out(self, tls: ssl.SSLContext | None = None) -> None:
        """Do it; raises HarnessError unless it ends well, and then nothing has been sent yet."""
        trouble = self._ran() if self.command else self._asked(tls)
        if trouble:
            message = f"reset hook {self.says()!r}: {trouble}; mend it, nothing has been paid yet"
            raise HarnessError(message)

    def _ran(self) -> str:
        try:
            done = subprocess.run(
                self.command, capture_output=True, text=True, errors="replace", check=False,
                stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"has not ended after {PATIENCE_S} s"
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        if done.returncode == 0:
            return ""
        said = concealed(done.stderr.strip() or done.stdout.strip())[-SAID_MAX:]
        return f"ended with {done.returncode}" + (f" and said {said!r}" if said else "")

    def _asked(self, tls: ssl.SSLContext | None) -> str:
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        connection = (
            http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=PATIENCE_S, context=tls
            )
            if secure
            else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(self.method, target, self.body, self.headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"got no answer: {type(error).__name__}"
        finally:
            connection.close()
        # A redirect is no success: it is not followed, because it could lead anywhere.
        return "" if 200 <= status < 300 else f"was answered with {status}"  # noqa: PLR2004 - 2xx


def written(text: str) -> Reset:
    """A hook as it is written at the command line.

    Raises UsageError if it is empty or unclosed, or an address with a user in it.
    """
    if text.startswith(("http://", "https://")):
        if "@" in urlsplit(text).netloc:
            what = "holds a user or a password; write a header under [reset] of --credentials"
            raise UsageError(f"--reset {concealed(text)!r}: {what}")
        return Reset(url=text)
    try:
        command = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"--reset {concealed(text)!r}: {error}; quote it as a shell would have it"
        ) from None
    if not command:
        raise UsageError("--reset: is empty; give a command or an http:// address")
    return Reset(command=command)
