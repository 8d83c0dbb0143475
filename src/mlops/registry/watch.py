"""The ledger looked after by the stack itself: checked every day, and somebody told when it is not what was written.

A check goes from the newest anchor to the head, so it costs the entries of a day. Once a week it is the whole chain
with all its anchors, which also finds what was changed before the newest one. A chain that is broken is not anchored:
the next check would begin at the forgery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlops.errors import ConflictError
from mlops.objects import ObjectStore
from mlops.registry import anchors, chain
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry

#: Where records of the whole stack are kept, and of which kind these are.
STACK, KIND = "_stack", "verification"

WHOLE_DAYS = 7
MAX_TOLD = 20

ACTOR = "function:housekeeping"


@dataclass(frozen=True)
class Checked:
    """What was looked at, and what is wrong. ``since``: sequence of the first entry that was checked."""

    whole: bool
    since: int
    entries: int
    problems: tuple[chain.Problem, ...] = ()

    @property
    def intact(self) -> bool:
        return not self.problems

    def explanation(self) -> str:
        """In a sentence or two."""
        if self.intact:
            return f"{self.entries} entries from number {self.since} on are what was written"
        first = "; ".join(problem.message for problem in self.problems[:3])
        more = f"; and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        return f"the ledger is not what was written: {first}{more}"


@dataclass(frozen=True)
class Watch:
    """Checks and anchors one stack's ledger. ``anchorage`` is the bucket of anchors; ``tell`` puts an event."""

    stack: str
    registry: Registry
    ledger: Ledger
    anchorage: ObjectStore
    tell: Callable[[str, dict[str, object]], None]
    clock: Callable[[], datetime]

    def daily(self) -> Checked:
        """Check what is due; of a chain that is broken, put the event ``LedgerBroken`` and an entry."""
        now = self.clock()
        found = self.check(whole=self._whole_is_due(now))
        body = {"whole": found.whole, "since": found.since, "entries": found.entries, "intact": found.intact}
        self.registry.put_record(Record(STACK, KIND, now.isoformat(), now.isoformat(), body))
        self._say(found)
        return found

    def anchor(self) -> tuple[Checked, bool]:
        """Check what came since the newest anchor, and anchor the head if it is intact."""
        found = self.check(whole=False)
        self._say(found)
        return found, found.intact and self.drop()

    def drop(self) -> bool:
        """Anchor the head; False when it is anchored already."""
        return anchors.drop(self.anchorage, self.stack, self.ledger.head(), self.clock().isoformat())

    def check(self, *, whole: bool) -> Checked:
        """Look at the whole chain and all anchors, or at what came since the newest anchor, that entry included."""
        last = None if whole else anchors.newest(self.anchorage, self.stack)
        begin = last.sequence if last else 1
        kept = anchors.listed(self.anchorage, self.stack) if whole else [last] if last else []
        head = self.ledger.head()  # first: what is appended meanwhile is no problem
        entries = list(self.ledger.entries(after=begin - 1))
        found = chain.verify(entries, head, after=(begin - 1, None if last else chain.GENESIS))
        return Checked(last is None, begin, found.entries, (*found.problems, *anchors.check(entries, kept)))

    def _whole_is_due(self, now: datetime) -> bool:
        due = now - timedelta(days=WHOLE_DAYS)
        done = self.registry.records(STACK, KIND, WHOLE_DAYS + 1)
        return not any(r.body["whole"] and r.body["intact"] and datetime.fromisoformat(r.time) > due for r in done)

    def _say(self, found: Checked) -> None:
        if found.intact:
            return
        told = [{"sequence": p.sequence, "kind": p.kind, "message": p.message} for p in found.problems[:MAX_TOLD]]
        self.tell("LedgerBroken", {"explanation": found.explanation(), "problems": told})
        first = found.problems[0]
        known_as = f"ledger-broken/{first.kind}/{first.sequence}"
        draft = LedgerDraft(
            ACTOR,
            "ledger.broken",
            "ledger",
            found.explanation()[: chain.MAX_TEXT],
            "broken",
            {"problems": told},
            known_as,
        )
        try:
            self.ledger.append(draft)
        except ConflictError:  # its head was set back, so nothing can follow it: the event is what tells
            return
