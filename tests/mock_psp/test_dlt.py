"""Registrations with the operators: those of a biller that is not ours, beside our own."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import scenario_file
from fewseconds.commands.serve import Wanted
from fewseconds.commands.serve import _options as serve_options
from fewseconds.contracts import SmsRequest
from fewseconds.errors import UsageError
from mock_psp import dlt, templates
from mock_psp.serve import Services
from tests.mock_psp.pages import END, examples

if TYPE_CHECKING:
    from pathlib import Path

THEIRS = dlt.Registration(
    "1501", ("MYELEC-S", "MYELEC-T"),
    (
        dlt.Template(id="1", text="Rs.{#var#} (paid) for {#var#}", headers=("MYELEC-S",)),
        dlt.Template(id="2", text="Pay {#var#}", variable_length_max=5, text_length_max=8),
        dlt.Template(id="3", text="Pay {#var#}", variable_length_max=5),
    ),
)  # fmt: skip
SHORT = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=40)
FILE = """
entity_id = "1501"
headers = ["MYELEC-S"]
[[templates]]
id = "1"
text = "Pay {#var#}"
"""


@pytest.mark.parametrize(
    ("entity", "sender", "template", "text", "code"),
    [
        ("1501", "MYELEC-S", "1", "Rs.1 (paid) for A", ""),
        ("1501", "MYELEC-T", "1", "Rs.1 (paid) for A", "634"),
        ("1502", "MYELEC-S", "1", "Rs.1 (paid) for A", "600"),
        ("1501", "MYELEC-G", "1", "Rs.1 (paid) for A", "620"),
        ("1501", "MYELEC", "1", "Rs.1 (paid) for A", "620"),
        ("1501", templates.SENDER, "1", "Rs.1 (paid) for A", "623"),
        (templates.ENTITY_ID, "MYELEC-S", templates.CODE, "x", "623"),
        ("1501", "MYELEC-S", templates.CODE, "Rs.1 (paid) for A", "630"),
        ("1501", "MYELEC-S", "1", "Rs.1 paid for A", "23082"),
        ("1501", "MYELEC-S", "1", "Rs.1 (paid) for ", "23082"),
        ("1501", "MYELEC-T", "2", "Pay 1234", ""),
        ("1501", "MYELEC-T", "2", "Pay 12345", "23082"),
        ("1501", "MYELEC-T", "3", "Pay 12345", ""),
        ("1501", "MYELEC-T", "3", "Pay 123456", "23082"),
    ],
)
def test_a_message_passes_if_all_of_it_is_registered_together(
    entity: str, sender: str, template: str, text: str, code: str
) -> None:
    """Each part that does not belong to the others has its own code."""
    asked = SmsRequest("+915550000001", sender, entity, template, text, "r")
    assert dlt.Platform((THEIRS,)).refusal(asked) == code


@given(st.lists(SHORT, min_size=4, max_size=4))
def test_our_own_messages_pass_whoever_else_is_registered(values: list[str]) -> None:
    """What our biller fills in is let through, unless it is longer than one message."""
    text = templates.filled(templates.REFUNDED, *values)
    asked = SmsRequest(
        "+915550000001", templates.SENDER, templates.ENTITY_ID, templates.REFUNDED, text, "r"
    )
    for others in ((), (THEIRS,)):
        assert dlt.Platform(others).refusal(asked) == ("" if len(text) <= 160 else "23082")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"1501"', '"PE-1501"', "entity_id: 'PE-1501' is not a number in quotes; write DLT's 19"),
        ('"1501"', "1501", "Expected `str`, got `int` - at `$.entity_id`"),
        ('"1501"', f'"{templates.ENTITY_ID}"', "is the mock biller's; write your own"),
        ('"MYELEC-S"', "", "headers: there is none; write those that DLT has for you"),
        ('"MYELEC-S"', '"MYELEC"', "headers: 'MYELEC' is not six characters and a suffix; write"),
        ('"MYELEC-S"', f'"{templates.SENDER}"', f"headers: '{templates.SENDER}' is the mock"),
        ("[[templates]]", "[templates]", "Expected `array`, got `object` - at `$.templates`"),
        ('id = "1"', 'id = "one"', "templates: 'one': is not a number in quotes; write DLT's 19"),
        ("{#var#}", "{#amount#}", "text: has a variable that is not {#var#}; write it so"),
        ("Pay {#var#}", "{#var#}", "text: says nothing of its own; write the registered wording"),
        ('id = "1"', 'id = "1"\nheaders = ["A"]', "headers: 'A' is none of MYELEC-S; write one"),
        ('id = "1"', 'id = "1"\nvariable_length_max = 0', "variable_length_max: 0 is too little"),
        ('id = "1"', 'id = "1"\ntext_length_max = 3', "out of range; write 4 (the fixed words) to"),
        ("text =", "wording =", "wording"),
        (
            "[[templates]]", '[[templates]]\nid = "1"\ntext = "Hello"\n[[templates]]',
            "templates: '1' is there 2 times; leave one",
        ),
        ("headers = [", "headers = ", "dlt.toml: "),
    ],
)  # fmt: skip
def test_faults_of_a_file_are_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    """The file as it stands is good; every change makes one sentence that says what to write."""
    path = tmp_path / "dlt.toml"
    path.write_text(FILE, "utf-8")
    assert dlt.load(path).headers == ("MYELEC-S",)
    path.write_text(FILE.replace(old, new, 1), "utf-8")
    with pytest.raises(UsageError, match=re.escape(told)):
        dlt.load(path)


def test_a_file_that_is_not_there_is_bad_usage(tmp_path: Path) -> None:
    """Nothing is started."""
    with pytest.raises(UsageError, match="cannot be read"):
        serve_options(Wanted(scenario="smoke", dlt=tmp_path / "none.toml"))


def test_the_page_s_example_answers_as_printed(tmp_path: Path) -> None:
    """Sent through an account with a limit: one message arrives, one for another header never."""
    (dlt_file, _), *calls, (account_file, _) = examples("own_biller.md")
    subprocess.run(["bash", "-c", dlt_file + account_file], cwd=tmp_path, check=True)
    options, _ = serve_options(Wanted(scenario="smoke", dlt=tmp_path / "dlt.toml"))
    account = scenario_file.load(str(tmp_path / "account.toml"))
    limit = account.stations["sms_gateway"].rate_limit
    assert limit is not None
    assert (limit.per_s, limit.excess, limit.code) == (30, "reject", "429")
    folder = tmp_path / "world"
    with Services(account, account.seed, folder, only=("sms",), options=options) as services:
        script = "set -e\n" + f"\necho '{END}'\n".join(text for text, _ in calls)
        script = script.replace(":8702", f":{services.spec.ports['sms']}")
        told = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    said = [part.strip() for part in told.stdout.split(END)]
    assert said == [answer for _, answer in calls]
    assert len(said) == 3
