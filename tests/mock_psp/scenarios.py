"""The scenarios that the tests of the services play: quick ones, moody ones, stubborn ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds import scenario_file

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

MOCKED = (
    "mobile_network", "payer_psp", "switch", "payee_psp", "remitter_bank", "beneficiary_bank",
    "callback_network", "sms_gateway",
)  # fmt: skip


def constant(milliseconds: float) -> dict[str, Any]:
    """A service time that is always the same."""
    return {"law": "constant", "value_ms": milliseconds, "source": "quick for a test"}


def quick_scenario(overrides: dict[str, Any] | None = None, name: str = "smoke") -> Scenario:
    """The smoke scenario, or one like it, with parties that take a millisecond and never fail."""
    stations: dict[str, Any] = {
        name: {"service_time": constant(1), "failures": []} for name in MOCKED
    }
    operators = {
        name: {"service_time": constant(1), "failures": []}
        for name in ("jio", "airtel", "vi", "bsnl")
    }
    stations["operator"] = {
        "service_time": constant(1), "failures": [], "variants": operators,
    }  # fmt: skip
    base = {"stations": stations}
    return scenario_file.load(name, scenario_file.merged(base, overrides or {}))


def _impatient_legs() -> list[dict[str, Any]]:
    """The legs of a payment, with banks that have to answer within 0.8 s."""
    legs = [msgspec.to_builtins(leg) for leg in scenario_file.load("smoke").steps["pay"].legs]
    for leg in legs:
        if leg["station"].endswith("_bank"):
            leg["timeout_ms"] = 800
    return [{key: value for key, value in leg.items() if value is not None} for leg in legs]


def moody_scenario(
    more: dict[str, Any] | None = None, ask_switch: dict[str, Any] | None = None
) -> Scenario:
    """Quick parties, and banks that always do the same thing to their customers.

    AXIS answers no credit in time, HDFC no debit, ICICI declines, PNB fails; callbacks about
    KOTAK's customers take a while, and each second operator is deaf. ``more`` are stations of one's
    own, ``ask_switch`` is when the switch is asked (soon).
    """

    def always(outcome: str, code: str) -> dict[str, Any]:
        failures = [{"outcome": outcome, "code": code, "share": 1.0, "source": "test"}]
        return {"failures": failures}

    stations = {
        "beneficiary_bank": {"by": ["bank"], "variants": {"AXIS": always("timed_out", "U68")}},
        "remitter_bank": {
            "by": ["account"],
            "variants": {
                "HDFC": always("timed_out", "U67"),
                "ICICI": always("declined", "Z9"),
                "PNB": always("error", "XY"),
            },
        },
        "callback_network": {
            "by": ["bank"], "variants": {"KOTAK": {"service_time": constant(500)}},
        },
        "operator": {"variants": {"vi": always("timed_out", "undelivered")}},
    }  # fmt: skip
    steps = {
        "pay": {"legs": _impatient_legs()},
        "ask_switch": ask_switch or {"delay_ms": 300},
        "reversal": {"backoff_ms": [100]},
    }
    return quick_scenario({"stations": stations | (more or {}), "steps": steps})


def stubborn_scenario() -> Scenario:
    """Callbacks and SMS are tried until they get through; AXIS answers no credit in time."""
    deemed = [{"outcome": "timed_out", "code": "U68", "share": 1.0, "source": "test"}]
    bank = {"by": ["bank"], "variants": {"AXIS": {"failures": deemed}}}
    often = {"attempts_max": 255, "backoff_ms": [100]}
    steps = {"callback": often, "sms": often, "pay": {"legs": _impatient_legs()}}
    return quick_scenario({"steps": steps, "stations": {"beneficiary_bank": bank}})
