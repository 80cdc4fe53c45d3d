"""Is a callback authentic?"""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds.contracts import REPLAY_WINDOW_S, SIGNATURE_HEADERS, signature
from mock_psp.webhook import NotAuthenticError, checked_id

# The example that the libraries of the Standard Webhooks specification test themselves with.
KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID, TIMESTAMP_S = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(**changes: str) -> dict[str, str]:
    """The headers of the example, some changed or (when empty) left out."""
    values = {
        "webhook-id": ID, "webhook-timestamp": str(TIMESTAMP_S), "webhook-signature": SIGNATURE,
    }  # fmt: skip
    values |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in values.items() if value}


def test_the_published_example_is_authentic() -> None:
    """The signature of the specification's own example holds, and ours is the same text."""
    assert checked_id(headers(), BODY, [KEY], TIMESTAMP_S) == ID
    assert signature(KEY, ID, TIMESTAMP_S, BODY) == SIGNATURE


def test_an_old_key_and_one_of_several_signatures_are_enough() -> None:
    """While keys rotate, any known key fits any of the offered signatures."""
    offered = headers(webhook_signature=f"v1,AAAA v2,abc {SIGNATURE}")
    assert checked_id(offered, BODY, [b"new key", KEY], TIMESTAMP_S) == ID


@pytest.mark.parametrize("away_s", [REPLAY_WINDOW_S, -REPLAY_WINDOW_S])
def test_the_replay_window_ends_on_both_sides(away_s: int) -> None:
    """A callback is taken up to the edge of the window and not a second beyond."""
    checked_id(headers(), BODY, [KEY], TIMESTAMP_S + away_s)
    beyond = away_s + (1 if away_s > 0 else -1)
    with pytest.raises(NotAuthenticError, match="away from now"):
        checked_id(headers(), BODY, [KEY], TIMESTAMP_S + beyond)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook_id": "msg_other"},
        {"webhook_timestamp": str(TIMESTAMP_S + 1)},
        {"webhook_timestamp": "soon"},
        {"webhook_timestamp": "١٦١٤٢٦٥٣٣٠"},
        {"webhook_signature": "v1,"},
        {"webhook_signature": SIGNATURE.removeprefix("v1,")},
        {"webhook_signature": SIGNATURE.lower()},
        *({name.replace("-", "_"): ""} for name in SIGNATURE_HEADERS),
    ],
)
def test_a_changed_or_missing_header_is_refused(changes: dict[str, str]) -> None:
    """Id, time and signature belong together."""
    with pytest.raises(NotAuthenticError):
        checked_id(headers(**changes), BODY, [KEY], TIMESTAMP_S)


@given(st.binary(max_size=60))
def test_any_other_body_is_refused(body: bytes) -> None:
    """No body but the signed one passes, not even one that means the same JSON."""
    for other in (
        body,
        BODY.replace(b" ", b""),
        BODY + b"\n",
        BODY.replace(b"test", b"te\\u0073t"),
    ):
        if other != BODY:
            with pytest.raises(NotAuthenticError, match="does not fit"):
                checked_id(headers(), other, [KEY], TIMESTAMP_S)
