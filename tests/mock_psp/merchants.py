"""The merchant's own side: a server that takes webhooks, and the checks that vendors publish."""

from __future__ import annotations

import base64
import hmac
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import TYPE_CHECKING, Any, NamedTuple

import standardwebhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WAIT_S = 20


class Hook(NamedTuple):
    """A webhook that came."""

    headers: dict[str, str]
    raw: str

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON
        """The event."""
        return json.loads(self.raw)


class Receiver:
    """A merchant's server: what it was sent, and what it answers."""

    def __init__(self) -> None:
        """Answers 200 until told otherwise."""
        self.came: Queue[Hook] = Queue()
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                # Before the answer, so that whoever sees its effect finds the webhook here.
                receiver.came.put(Hook(headers, raw))
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def next(self) -> Hook:
        """The next webhook that comes."""
        return self.came.get(timeout=WAIT_S)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def by_openssl(key: str, message: str) -> bytes:
    """HMAC-SHA256 as OpenSSL's command line computes it."""
    command = ["openssl", "dgst", "-sha256", "-hmac", key, "-binary"]
    told = subprocess.run(command, input=message.encode(), capture_output=True, check=True)
    return told.stdout


def taken_by_setu(body: str, signature: str, secret: str) -> bool:
    """What Setu tells its merchants to do, in Python instead of the page's JavaScript.

    docs.setu.co/payments/umap/notifications/verify-signature: the HMAC of the notification as a
    string is compared with the header, both decoded from base64.
    """
    expected = by_openssl(secret, body)
    return hmac.compare_digest(base64.b64decode(signature, validate=True), expected)


def taken_by_cashfree(body: str, headers: Mapping[str, str], secret: str) -> bool:
    """What Cashfree tells its merchants to do, in Python instead of the page's JavaScript.

    cashfree.com/docs/api-reference/webhooks/payloads-and-signatures: the text of the timestamp's
    header, then the raw body; the HMAC in base64 is compared as text.
    """
    signed = headers["x-webhook-timestamp"] + body
    expected = base64.b64encode(by_openssl(secret, signed)).decode()
    return hmac.compare_digest(headers["x-webhook-signature"], expected)


def taken_by_the_library(hook: Hook, secret: str) -> bool:
    """What the library of the Standard Webhooks specification says of a webhook."""
    try:
        standardwebhooks.Webhook(secret).verify(hook.raw, hook.headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


TAKEN: dict[str, Callable[[Hook, str], bool]] = {
    "setu": lambda hook, key: taken_by_setu(hook.raw, hook.headers["x-setu-signature"], key),
    "cashfree": lambda hook, key: taken_by_cashfree(hook.raw, hook.headers, key),
    "standard-webhooks": taken_by_the_library,
}
"""Whether a merchant with that secret takes a webhook, by the way in which it is signed."""
