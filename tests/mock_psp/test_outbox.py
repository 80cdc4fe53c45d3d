"""The relay between the outbox and the gateway, with a ledger that cannot write for once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy.exc import OperationalError

from fewseconds import journey as j
from fewseconds.contracts import SmsRequest
from mock_psp import outbox
from mock_psp.clock import monotonic_us
from mock_psp.ledger import Message
from mock_psp.spec import SERVICES, RunSpec
from mock_psp.station import Answer
from mock_psp.world import World
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from pathlib import Path


class Ledger:
    """An outbox with one message; the first ``failures`` notes of its sending are not written."""

    def __init__(self, failures: int) -> None:
        """Nothing is noted."""
        self.failures, self.noted = failures, list[tuple[int, int]]()
        self.done = asyncio.Event()
        self._message = Message(1, "FWS1", "919800000001", "1", "paid", "")

    def unsent(self, after: int, until: int = 10**6) -> list[Message]:
        """The message, until it is noted."""
        return [self._message] if not self.noted and after < 1 <= until else []

    async def sent(self, sequence: int, at_us: int) -> None:
        """Note it, or not."""
        if self.failures:
            self.failures -= 1
            raise OperationalError("away", None, RuntimeError("away"))
        self.noted.append((sequence, at_us))
        self.done.set()


class Gateway:
    """Takes every message."""

    def __init__(self) -> None:
        """None yet."""
        self.taken = list[str]()

    async def post(self, _url: str, _call: object, body: bytes, _kind: object) -> Answer:
        """Take one."""
        self.taken.append(msgspec.json.decode(body, type=SmsRequest).reference)
        return Answer(j.OK)


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_a_message_that_cannot_be_noted_is_noted_later_and_sent_once(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has got an SMS does not get it again because the ledger was away for a moment."""
    monkeypatch.setattr(outbox, "AGAIN_S", 0.01)
    spec = RunSpec(
        scenario=quick_scenario(), seed=1, run_folder=str(tmp_path), secrets_file="",
        ports=dict.fromkeys(SERVICES, 1), epoch_monotonic_us=monotonic_us(), plan_origin_us=0,
    )  # fmt: skip

    async def relayed() -> tuple[Ledger, Gateway]:
        nobody: Any = None
        ledger, gateway = Ledger(failures), Gateway()
        keeper: Any = ledger
        client: Any = gateway
        relay = outbox.Relay(World(spec, nobody, "biller"), keeper, client)
        relay.wake()
        relay.walk.start(relay.rounds())
        await asyncio.wait_for(ledger.done.wait(), 20)
        await relay.walk.close()
        return ledger, gateway

    ledger, gateway = asyncio.run(relayed())
    assert gateway.taken == ["FWS1"]
    assert [sequence for sequence, _ in ledger.noted] == [1]
