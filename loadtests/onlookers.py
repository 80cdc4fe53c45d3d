"""Brings what the workers note together where somebody looks: alone, or at the master.

It rides on the reports that Locust's workers send every three seconds anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from locust.runners import WorkerRunner

from loadtests.standing import Standing, together

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario
    from loadtests.notes import Notes
    from loadtests.verdict import Said

KEY: Final = "fewseconds"


class Onlookers:
    """The notes of this process and what it has heard of others'."""

    def __init__(self, environment: Any) -> None:  # noqa: ANN401 - Locust's environment is untyped
        """Listen to Locust's reports."""
        self._environment = environment
        self._mine: Notes | None = None
        self._told: dict[str, Standing] = {}
        self._over = False
        self._endpoint: Any = None
        self.scenario: Scenario | None = None
        """What is being played, once that is known."""
        self.said: Said | None = None
        """The verdict on the last run, once it is over; until then only objectives are known."""
        if isinstance(environment.runner, WorkerRunner):
            environment.events.report_to_master.add_listener(self._tell)
        else:
            environment.events.worker_report.add_listener(self._hear)

    @property
    def wanted(self) -> bool:
        """Whether somebody looks without having been asked for: Locust's web page."""
        return self._environment.web_ui is not None

    def begin(self, scenario: Scenario, metrics: str) -> None:
        """A run begins, led from here; raises OSError if the endpoint's port is taken."""
        self.scenario, self.said = scenario, None
        self._told, self._over = {}, False
        if metrics and self._endpoint is None:
            # Only whoever asks for the endpoint pays for its library.
            from loadtests.metrics import Endpoint  # noqa: PLC0415

            host, _, port = metrics.rpartition(":")
            self._endpoint = Endpoint(scenario, self.standing).serve(host.strip("[]"), int(port))

    def follow(self, notes: Notes) -> None:
        """Take ``notes`` for those of this process."""
        self._mine = notes

    def conclude(self, standings: list[Standing]) -> None:
        """The workers have ended: what they said last counts."""
        if standings:
            self._mine, self._told = None, {str(n): one for n, one in enumerate(standings)}
            self._over = True

    def standing(self) -> Standing:
        """How the run stands, over all workers."""
        mine = [] if self._mine is None else [self._mine.standing()]
        return together([*self._told.values(), *mine])

    def _tell(self, data: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - as above
        if self._mine is not None:
            data[KEY] = msgspec.msgpack.encode(self._mine.standing())

    def _hear(self, client_id: str, data: dict[str, Any], **_: Any) -> None:  # noqa: ANN401
        # Workers go on with their reports when the run is over.
        if KEY in data and not self._over:
            self._told[client_id] = msgspec.msgpack.decode(data[KEY], type=Standing)
