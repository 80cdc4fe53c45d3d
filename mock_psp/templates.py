"""What the biller has registered with the operators: who sends, and in which words.

India's operators let through only messages whose sender (header), entity and wording (template)
are registered on their DLT platforms (TCCCPR 2018, amended in February 2025). The numbers here are
invented; the header ends in ``-S``, the mark of a service message since May 2025.
"""

from __future__ import annotations

from typing import Final

SENDER: Final = "BESTMU-S"
ENTITY_ID: Final = "1101000000000099999"
RECEIPT: Final = "1107000000000000001"
REFUND: Final = "1107000000000000002"
CODE: Final = "1107000000000000003"
CODE_REFERENCE: Final = "code_"
"""How the sender's own id of such a message begins; all others are about a payment."""
REFUNDED: Final = "1107000000000000004"
TEXTS: Final = {
    RECEIPT: "BEST: Rs.{#var#} received for consumer {#var#}, bill {#var#}. Receipt {#var#}. "
    "UPI ref {#var#}. Thank you.",
    REFUND: "BEST: Rs.{#var#} received by UPI ref {#var#} could not be credited to bill {#var#} "
    "and will be refunded.",
    CODE: "BEST: {#var#} is your code for a new portal password, for 10 minutes. Do not tell it to "
    "anybody.",
    REFUNDED: "BEST: Rs.{#var#} paid by UPI ref {#var#} for bill {#var#} has been refunded. "
    "Refund ref {#var#}.",
}
"""The registered wording by template id; ``₹`` is not in the GSM alphabet, so it reads ``Rs.``."""
VARIABLE: Final = "{#var#}"


def filled(template: str, *values: str) -> str:
    """The text of a message: the template with its variables replaced, in order."""
    parts = TEXTS[template].split(VARIABLE)
    return "".join(part + value for part, value in zip(parts, (*values, ""), strict=True))
