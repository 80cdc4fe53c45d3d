"""What senders have registered with the operators' DLT platforms, and how messages are scrubbed.

India's operators let a message through only if its sender (header), entity and wording (template)
are registered together (TCCCPR 2018, amended in February 2025). Our own biller is always
registered; another one's registrations are read from a TOML file, which has what DLT's portal
shows:

    entity_id = "1501000000000000001"
    headers = ["MYELEC-S"]

    [[templates]]
    id = "1507000000000000001"
    text = "Dear customer, Rs.{#var#} received for {#var#}."
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.errors import UsageError
from mock_psp import templates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from fewseconds.contracts import SmsRequest

VARIABLE_LENGTH_MAX: Final = 40
"""Of what stands in for one variable (MSG91, *SMS not matched with DLT template*)."""
TEXT_LENGTH_MAX: Final = 160
"""Characters of one short message in the GSM alphabet; ours are never cut in parts."""
TEXT_LENGTH_LIMIT: Final = 1000
"""More than any gateway sends in parts: *assumption*."""
HEADER: Final = re.compile(r"[A-Za-z0-9]{6}-[STG]")
"""Six characters and, since May 2025, the mark of a service, transactional or government message.
Promotional ones (-P) have hours and consents that are not modelled."""


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wording that may be sent."""

    id: str
    text: str
    """With ``{#var#}`` wherever something else may stand each time."""
    headers: tuple[str, ...] = ()
    """Headers that it is registered for; all of the entity's if none is given."""
    variable_length_max: int = VARIABLE_LENGTH_MAX
    text_length_max: int = TEXT_LENGTH_MAX

    def fits(self, text: str) -> bool:
        """Whether a text is what the template allows."""
        return len(text) <= self.text_length_max and self._pattern().fullmatch(text) is not None

    def _pattern(self) -> re.Pattern[str]:
        # The standard library remembers the patterns that it has compiled.
        variable = f".{{1,{self.variable_length_max}}}"
        fixed = map(re.escape, self.text.split(templates.VARIABLE))
        return re.compile(variable.join(fixed))


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one sender has registered."""

    entity_id: str
    headers: tuple[str, ...]
    templates: tuple[Template, ...]


OWN: Final = Registration(
    templates.ENTITY_ID,
    (templates.SENDER,),
    tuple(Template(id=name, text=text) for name, text in templates.TEXTS.items()),
)
"""What our own biller has registered."""


class Platform:
    """All registrations, our own biller's among them."""

    def __init__(self, others: Iterable[Registration] = ()) -> None:
        """``others`` are those of billers that are not ours."""
        self._entities = {one.entity_id: one for one in (OWN, *others)}
        self._owners = {
            header: one.entity_id for one in self._entities.values() for header in one.headers
        }
        self._templates = {
            (one.entity_id, template.id): template
            for one in self._entities.values()
            for template in one.templates
        }

    def refusal(self, request: SmsRequest) -> str:
        """Code of why scrubbing swallows a message, or nothing.

        Codes are those of Exotel's *DLT platform error codes in India*, 634 that of AuthKey's list
        and 23082 Exotel's own for a text that is not its template's.
        """
        if request.entity_id not in self._entities:
            return "600"  # ENTITY_NOT_FOUND
        if request.sender not in self._owners:
            return "620"  # HEADER_NOT_FOUND; the suffix (-S) is a part of the header
        if self._owners[request.sender] != request.entity_id:
            return "623"  # PEID_NOT_MATCHED_WITH_HEADER
        template = self._templates.get((request.entity_id, request.template_id))
        if template is None:
            return "630"  # TEMPLATE_NOT_FOUND
        if template.headers and request.sender not in template.headers:
            return "634"  # HEADER_NOT_REGISTERED_FOR_TEMPLATE
        return "" if template.fits(request.text) else "23082"


def load(path: Path) -> Registration:
    """Read a file of registrations; raises UsageError, which names every fault."""
    try:
        told = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Registration)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; give --dlt a file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {error}") from None
    problems = [f"{path}: {problem}" for problem in _problems(told)]
    if problems:
        raise UsageError("\n".join(problems))
    return told


def _problems(told: Registration) -> Iterator[str]:
    if not told.entity_id.isdecimal():
        yield f"entity_id: {told.entity_id!r} is not a number in quotes; write DLT's 19 digits"
    elif told.entity_id == OWN.entity_id:
        yield f"entity_id: {told.entity_id!r} is the mock biller's; write your own"
    if not told.headers:
        yield "headers: there is none; write those that DLT has for you, with their suffix"
    for header in told.headers:
        if HEADER.fullmatch(header) is None:
            yield (
                f"headers: {header!r} is not six characters and a suffix; write MYELEC-S (service)"
                ", -T (transactional) or -G (government)"
            )
        if header in OWN.headers:
            yield f"headers: {header!r} is the mock biller's; write your own"
    if not told.templates:
        yield "templates: there is none; write a [[templates]] with id and text for each"
    for name, count in Counter(one.id for one in told.templates).items():
        if count > 1:
            yield f"templates: {name!r} is there {count} times; leave one"
    for template in told.templates:
        for problem in _template_problems(template, told.headers):
            yield f"templates: {template.id!r}: {problem}"


def _template_problems(template: Template, headers: tuple[str, ...]) -> Iterator[str]:
    if not template.id.isdecimal():
        yield "is not a number in quotes; write DLT's 19 digits"
    strange = [one for one in template.headers if one not in headers]
    if strange:
        yield f"headers: {strange[0]!r} is none of {', '.join(headers)}; write one of these"
    fixed = template.text.replace(templates.VARIABLE, "")
    if not fixed.strip():
        yield "text: says nothing of its own; write the registered wording"
    if "{#" in fixed or "#}" in fixed:
        yield f"text: has a variable that is not {templates.VARIABLE}; write it so"
    if template.variable_length_max < 1:
        yield f"variable_length_max: {template.variable_length_max} is too little; write 1 or more"
    if not len(fixed) <= template.text_length_max <= TEXT_LENGTH_LIMIT:
        yield (
            f"text_length_max: {template.text_length_max} is out of range; write "
            f"{len(fixed)} (the fixed words) to {TEXT_LENGTH_LIMIT}"
        )
