"""The invariants of a run as SQL, apart from the code that they judge.

Tables: those of the ledger (``schema``), and beside them

* ``journal``: what the payer's PSP and the banks did (``debit``, ``credit``, ``reversal``), what
  the screen showed (``shown``) and what the biller acknowledged (``acknowledged``);
* ``messages``: the SMS gateway's log, and ``endings``: what became of each SMS, by our gateway's;
* ``codes``: the QR codes that a merchant has made over the API, and what they say they received;
* ``untold``: refunds whose webhook was on its way to the biller when the services stopped;
* ``seen``: journeys whose consumer saw a confirmation (the load generator's rows);
* ``open``: journeys with something still under way when the services stopped;
* ``printed``: what the bills that were paid say, made anew from their numbers;
* ``leaks``: secrets and personal data in files that others may read, ``looked_at`` how many there
  are.

Each rule counts what it looks at and lists what breaks it, one text a violation.
"""
# ruff: noqa: S608 - the statements are put together from the constants below and from nothing else

from __future__ import annotations

from typing import Final, NamedTuple


class Rule(NamedTuple):
    """One invariant."""

    name: str
    counted: str
    broken: str
    invariant: str = ""
    """The invariant that it stands for: I1 conservation, I2 credited once, I3 acknowledged is
    there, I4 one receipt, I5 forward only, I7 amounts, I8 idempotent, I9 authentic, I11 reconciled,
    I12 nothing sensitive written."""


POSTED: Final = "(SELECT * FROM payments WHERE status <> 'FAILED')"
MONEY: Final = """(
    SELECT transaction_id, min(journey_id) AS journey_id, min(amount_paise) AS least,
           max(amount_paise) AS most,
           sum(entry = 'debit') AS debits, sum(entry = 'credit') AS credits,
           sum(entry = 'reversal') AS reversals
    FROM journal WHERE entry IN ('debit', 'credit', 'reversal') GROUP BY transaction_id)"""

RULES: Final = (
    Rule(
        "every posting has two lines that balance",
        f"SELECT count(*) FROM {POSTED}",
        f"""SELECT p.transaction_id || ': ' || count(l.account) || ' lines, sum '
                   || coalesce(sum(l.amount_paise), 0)
            FROM {POSTED} p LEFT JOIN lines l ON l.posting = p.transaction_id
            GROUP BY p.transaction_id
            HAVING count(l.account) <> 2 OR sum(l.amount_paise) <> 0
                OR max(l.amount_paise) <> p.amount_paise""",
        "I1",
    ),
    Rule(
        "every line belongs to a posted payment",
        "SELECT count(*) FROM lines",
        f"""SELECT transaction_id || ': line in ' || account FROM lines
            WHERE transaction_id NOT IN (SELECT transaction_id FROM {POSTED})""",
        "I1",
    ),
    Rule(
        "a bill is credited at most once",
        "SELECT count(DISTINCT bill_number) FROM payments WHERE status = 'CREDITED'",
        """SELECT bill_number || ': credited ' || count(*) || ' times' FROM payments
           WHERE status = 'CREDITED' GROUP BY bill_number HAVING count(*) > 1""",
        "I2",
    ),
    Rule(
        "a bill is paid exactly when a payment is credited to it",
        "SELECT count(*) FROM bills",
        """SELECT p.transaction_id || ': credited, but its bill is not paid by it' FROM payments p
           LEFT JOIN bills b ON b.transaction_id = p.transaction_id
           WHERE p.status = 'CREDITED' AND b.bill_number IS NOT p.bill_number
           UNION ALL
           SELECT b.bill_number || ': paid, but by no credited payment' FROM bills b
           LEFT JOIN payments p USING (transaction_id) WHERE p.status IS NOT 'CREDITED'""",
        "I2",
    ),
    Rule(
        "the amount on the bill is the amount credited",
        "SELECT count(*) FROM bills",
        """SELECT b.bill_number || ': printed ' || coalesce(o.amount_paise, 'nothing')
                  || ', credited ' || coalesce(p.amount_paise, 'nothing')
           FROM bills b LEFT JOIN payments p USING (transaction_id)
           LEFT JOIN printed o ON o.bill_number = b.bill_number
            AND o.amount_paise = p.amount_paise
           LEFT JOIN (SELECT transaction_id, sum(amount_paise) AS paise FROM refunds
                      WHERE processed_us IS NOT NULL GROUP BY transaction_id) r
             ON r.transaction_id = b.transaction_id
           WHERE o.amount_paise IS NULL OR b.amount_paise IS NOT p.amount_paise
              OR b.paid_paise IS NOT p.amount_paise - coalesce(r.paise, 0)""",
        "I7",
    ),
    Rule(
        "every posted payment has exactly one receipt, and nothing else has one",
        f"SELECT count(*) FROM {POSTED}",
        f"""SELECT p.transaction_id || ': ' || count(r.receipt_number) || ' receipts'
            FROM {POSTED} p LEFT JOIN receipts r USING (transaction_id)
            GROUP BY p.transaction_id HAVING count(r.receipt_number) <> 1
            UNION ALL
            SELECT receipt_number || ': receipt for no posted payment' FROM receipts
            WHERE transaction_id NOT IN (SELECT transaction_id FROM {POSTED})""",
        "I4",
    ),
    Rule(
        "every reference number and every event is unique",
        "SELECT count(*) FROM callbacks",
        """SELECT rrn || ': reference of ' || count(*) || ' payments' FROM payments
           WHERE rrn IS NOT NULL GROUP BY rrn HAVING count(*) > 1
           UNION ALL
           SELECT event_id || ': taken ' || count(*) || ' times' FROM callbacks
           GROUP BY event_id HAVING count(*) > 1""",
        "I8",
    ),
    Rule(
        "a payment only moves forward",
        "SELECT count(*) FROM callbacks",
        """WITH moves AS (
               SELECT transaction_id, effect, lag(effect) OVER (
                   PARTITION BY transaction_id ORDER BY sequence) AS before
               FROM callbacks WHERE effect <> 'none')
           SELECT transaction_id || ': ' || effect || ' after ' || before FROM moves
           WHERE before IS NOT NULL AND NOT (before = 'failed' AND effect <> 'failed')
             AND NOT (before IN ('credited', 'refund_due') AND effect = 'refunded')
           UNION ALL
           SELECT p.transaction_id || ': is ' || p.status || ', its callbacks say '
                  || coalesce(upper(c.effect), 'nothing')
           FROM payments p LEFT JOIN (
               SELECT transaction_id, effect, row_number() OVER (
                   PARTITION BY transaction_id ORDER BY sequence DESC) AS from_last
               FROM callbacks WHERE effect <> 'none') c
             ON c.transaction_id = p.transaction_id AND c.from_last = 1
           WHERE p.status IS NOT upper(c.effect)""",
        "I5",
    ),
    Rule(
        "a callback that contradicts an earlier one is an alarm, and changes nothing",
        "SELECT count(*) FROM alarms",
        """SELECT a.event_id || ': ' || a.kind || ', but ' || count(c.sequence) || ' were taken'
           FROM alarms a LEFT JOIN callbacks c ON c.event_id = a.event_id
           GROUP BY a.sequence, a.event_id, a.kind
           HAVING count(c.sequence) <> (a.kind = 'event_with_another_body')""",
        "I8",
    ),
    Rule(
        "the biller answers every copy of a callback in the same way",
        "SELECT count(*) FROM journal WHERE entry = 'acknowledged'",
        """SELECT transaction_id || ': acknowledged as ' || min(status) || ' and as ' || max(status)
           FROM journal WHERE entry = 'acknowledged' AND status <> 'refunded'
           GROUP BY transaction_id HAVING min(status) <> max(status)""",
        "I8",
    ),
    Rule(
        "nothing was written for a callback that the payment service did not send",
        "SELECT count(*) FROM callbacks",
        """SELECT c.event_id || ': about ' || c.transaction_id || ', which nobody has paid'
           FROM callbacks c LEFT JOIN payments p USING (transaction_id)
           WHERE coalesce(p.channel, 'upi') = 'upi'
             AND c.transaction_id NOT IN (SELECT transaction_id FROM journal)""",
        "I9",
    ),
    Rule(
        "nothing that others may read holds a secret or personal data",
        "SELECT coalesce(sum(files), 0) FROM looked_at",
        "SELECT file || ', line ' || line || ': ' || what FROM leaks",
        "I12",
    ),
    Rule(
        "money is conserved: what was debited was credited, reversed, or is under way",
        f"SELECT count(*) FROM {MONEY}",
        f"""SELECT m.transaction_id || ': ' || debits || ' debits, ' || credits || ' credits, '
                   || reversals || ' reversals'
            FROM {MONEY} m LEFT JOIN open o USING (journey_id)
            WHERE least <> most OR debits <> 1 OR credits + reversals > 1
               OR (credits + reversals = 0 AND o.journey_id IS NULL)""",
        "I1",
    ),
    Rule(
        "no more is given back than was credited",
        "SELECT count(*) FROM journal WHERE entry = 'refund'",
        """SELECT r.transaction_id || ': refunded ' || r.refunded || ' of '
                  || coalesce(c.amount_paise, 'nothing')
           FROM (SELECT transaction_id, sum(amount_paise) AS refunded FROM journal
                 WHERE entry = 'refund' GROUP BY transaction_id) r
           LEFT JOIN journal c ON c.transaction_id = r.transaction_id AND c.entry = 'credit'
           WHERE c.amount_paise IS NULL OR r.refunded > c.amount_paise
           UNION ALL
           SELECT reference || ': refunded ' || count(*) || ' times' FROM journal
           WHERE entry = 'refund' GROUP BY reference HAVING count(*) > 1""",
        "I1",
    ),
    Rule(
        "money that could not be credited has exactly one refund, with a reason",
        "SELECT count(*) FROM payments WHERE status = 'REFUND_DUE'"
        " OR status = 'REFUNDED' AND reason <> ''",
        """SELECT p.transaction_id || ': ' || count(r.refund_id) || ' refunds' FROM payments p
           LEFT JOIN refunds r ON r.transaction_id = p.transaction_id AND r.reason <> ''
           WHERE p.status = 'REFUND_DUE' OR (p.status = 'REFUNDED' AND p.reason <> '')
           GROUP BY p.transaction_id
           HAVING count(r.refund_id) <> 1 OR sum(r.amount_paise) <> max(p.amount_paise)
           UNION ALL
           SELECT transaction_id || ': refund of a payment that is ' || status FROM refunds
           JOIN payments p USING (transaction_id)
           WHERE psp_refund_id IS NULL AND p.status <> 'REFUND_DUE'""",
        "I2",
    ),
    Rule(
        "a refund in the ledger is a refund at the bank, with two lines that balance",
        "SELECT count(*) FROM refunds WHERE processed_us IS NOT NULL",
        """SELECT r.psp_refund_id || ': ' || count(l.account) || ' lines, sum '
                  || coalesce(sum(l.amount_paise), 0)
           FROM refunds r LEFT JOIN lines l ON l.posting = r.psp_refund_id
           WHERE r.processed_us IS NOT NULL GROUP BY r.psp_refund_id
           HAVING count(l.account) <> 2 OR sum(l.amount_paise) <> 0
               OR max(l.amount_paise) <> max(r.amount_paise)
           UNION ALL
           SELECT r.psp_refund_id || ': posted ' || r.amount_paise || ', at the bank '
                  || coalesce(j.amount_paise, 'nothing')
           FROM refunds r LEFT JOIN journal j
             ON j.reference = r.psp_refund_id AND j.entry = 'refund'
           WHERE r.processed_us IS NOT NULL AND j.amount_paise IS NOT r.amount_paise""",
        "I1",
    ),
    Rule(
        "every refund at the bank is in the ledger, at its amount",
        "SELECT count(*) FROM journal WHERE entry = 'refund'",
        """SELECT j.reference || ': ' || j.amount_paise || ' given back, posted '
                  || coalesce(r.amount_paise, 'nothing')
           FROM journal j
           LEFT JOIN refunds r ON r.psp_refund_id = j.reference AND r.processed_us IS NOT NULL
           WHERE j.entry = 'refund' AND r.amount_paise IS NOT j.amount_paise
             AND j.bill_number NOT IN (SELECT reference FROM codes)
             AND NOT (r.amount_paise IS NULL AND j.reference IN (SELECT reference FROM untold))""",
        "I11",
    ),
    Rule(
        "what was credited at the bank is posted at the biller, rupee for rupee",
        "SELECT count(*) FROM journal WHERE entry = 'credit'",
        f"""SELECT j.transaction_id || ': credited ' || j.amount_paise || ', posted '
                   || coalesce(p.amount_paise, 'nothing')
            FROM journal j LEFT JOIN {POSTED} p USING (transaction_id)
            LEFT JOIN open o USING (journey_id)
            WHERE j.entry = 'credit' AND j.amount_paise IS NOT p.amount_paise
              AND j.bill_number NOT IN (SELECT reference FROM codes)
              AND NOT (p.amount_paise IS NULL AND o.journey_id IS NOT NULL)
            UNION ALL
            SELECT transaction_id || ': posted, but never credited' FROM {POSTED}
            WHERE channel = 'upi'
              AND transaction_id NOT IN (SELECT transaction_id FROM journal WHERE entry = 'credit')
        """,
        "I11",
    ),
    Rule(
        "every QR code of a merchant has received exactly what was credited through it",
        "SELECT count(*) FROM codes",
        """SELECT c.reference || ': says ' || c.received_paise || ' in ' || c.received_count
                  || ', credited ' || coalesce(sum(j.amount_paise), 0) || ' in ' || count(j.at_us)
           FROM codes c
           LEFT JOIN journal j ON j.bill_number = c.reference AND j.entry = 'credit'
           GROUP BY c.reference
           HAVING c.received_paise <> coalesce(sum(j.amount_paise), 0)
               OR c.received_count <> count(j.at_us)""",
        "I11",
    ),
    Rule(
        "every acknowledged payment is posted",
        "SELECT count(*) FROM journal WHERE entry = 'acknowledged'",
        """SELECT j.transaction_id || ': acknowledged as ' || j.status || ', is '
                  || coalesce(p.status, 'not there')
           FROM journal j LEFT JOIN payments p USING (transaction_id)
           WHERE j.entry = 'acknowledged' AND upper(j.status) IS NOT p.status
             AND p.status IS NOT 'REFUNDED'""",
        "I3",
    ),
    Rule(
        "every payment that a payer saw succeed was credited once",
        "SELECT (SELECT count(*) FROM seen)"
        " + (SELECT count(*) FROM journal WHERE entry = 'shown' AND status = 'SUCCESS')",
        """SELECT s.transaction_id || ': shown as paid, credited '
                  || count(c.transaction_id) || ' times'
           FROM (SELECT DISTINCT transaction_id FROM journal
                 WHERE entry = 'shown' AND status = 'SUCCESS') s
           LEFT JOIN journal c ON c.transaction_id = s.transaction_id AND c.entry = 'credit'
           GROUP BY s.transaction_id HAVING count(c.transaction_id) <> 1
           UNION ALL
           SELECT 'journey ' || journey_id || ': its payer saw a confirmation, but no credit'
           FROM seen WHERE journey_id NOT IN (SELECT journey_id FROM journal WHERE entry = 'credit')
        """,
        "I3",
    ),
    Rule(
        "every posted payment has exactly one SMS accepted by the gateway",
        f"SELECT count(*) FROM {POSTED}",
        f"""SELECT p.transaction_id || ': ' || count(m.message_id) || ' SMS accepted'
            FROM {POSTED} p
            LEFT JOIN messages m ON m.reference = p.transaction_id AND m.entry = 'accepted'
            LEFT JOIN (SELECT DISTINCT transaction_id, journey_id FROM journal
                       WHERE entry <> 'refund') j
              ON j.transaction_id = p.transaction_id
            LEFT JOIN open o ON o.journey_id = j.journey_id
            WHERE EXISTS (SELECT 1 FROM printed WHERE printed.bill_number = p.bill_number)
            GROUP BY p.transaction_id
            HAVING count(m.message_id) > 1
                OR (count(m.message_id) = 0 AND max(o.journey_id) IS NULL)
            UNION ALL
            SELECT reference || ': SMS for no posted payment' FROM messages
            WHERE entry = 'accepted'
              AND substr(reference, 1, 5) <> 'code_'
              AND reference NOT IN (SELECT transaction_id FROM {POSTED})
              AND reference NOT IN (SELECT psp_refund_id FROM refunds
                                    WHERE processed_us IS NOT NULL)""",
        "I4",
    ),
    Rule(
        "every refund that was made is told to the payer in exactly one SMS",
        "SELECT count(*) FROM refunds WHERE processed_us IS NOT NULL",
        """SELECT r.psp_refund_id || ': ' || count(o.reference) || ' SMS in the outbox'
           FROM refunds r LEFT JOIN outbox o ON o.reference = r.psp_refund_id
           WHERE r.processed_us IS NOT NULL
             AND r.transaction_id IN (SELECT reference FROM outbox)
           GROUP BY r.psp_refund_id HAVING count(o.reference) <> 1
           UNION ALL
           SELECT reference || ': ' || count(*) || ' SMS accepted' FROM messages
           WHERE entry = 'accepted' GROUP BY reference HAVING count(*) > 1""",
        "I4",
    ),
    Rule(
        "no accepted SMS was swallowed by DLT scrubbing",
        "SELECT count(*) FROM messages WHERE entry = 'accepted'",
        "SELECT reference || ': scrubbed with code ' || code FROM messages"
        " WHERE entry = 'scrubbed'",
        "I4",
    ),
    Rule(
        "every accepted SMS ends once, as delivered, undelivered or scrubbed",
        "SELECT count(*) FROM endings WHERE accepted > 0",
        """SELECT reference || ': SMS ended ' || ends || ' times' FROM endings
           WHERE accepted > 0 AND ends <> 1 AND NOT (ends = 0 AND stopped > 0)""",
        "I4",
    ),
    Rule(
        "an SMS that is marked as sent was accepted by the gateway",
        "SELECT count(*) FROM outbox WHERE sent_us IS NOT NULL",
        """SELECT reference || ': marked as sent, but never accepted' FROM outbox
           WHERE sent_us IS NOT NULL
             AND reference NOT IN (SELECT reference FROM messages WHERE entry = 'accepted')""",
        "I4",
    ),
)  # fmt: skip
