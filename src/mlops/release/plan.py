"""Which steps a release takes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from mlops.contract import Release

LIVE = "live"

#: Checks that a release may take in all. A standard execution's history ends at 25,000 events, a check takes
#: about 12; the rest is room for steps, retries and waiting for another release.
MAX_CHECKS = 1500


@dataclass(frozen=True, slots=True)
class Step:
    """``share`` of entities that the challenger answers; 0 is shadow. The last step is :data:`LIVE`."""

    name: str
    share: float

    @property
    def final(self) -> bool:
        return self.name == LIVE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def steps(rules: Release, *, has_champion: bool) -> list[Step]:
    """Shadow, a canary for each share, then live. Without a champion there is nothing to compare with: live.

    Examples
    --------
    >>> [s.name for s in steps(Release(steps=(0.1, 0.5)), has_champion=True)]
    ['shadow', 'canary-1', 'canary-2', 'live']
    >>> [s.name for s in steps(Release(), has_champion=False)]
    ['live']
    """
    if not has_champion:
        return [Step(LIVE, 1.0)]
    canaries = [Step(f"canary-{i}", share) for i, share in enumerate(rules.steps, start=1)]
    return [Step("shadow", 0.0), *canaries, Step(LIVE, 1.0)]


def wait_seconds(rules: Release, elapsed: float) -> int:
    """Seconds until the next check of a step that has run for ``elapsed`` seconds.

    ``check_seconds`` at first. A step that waits long for traffic is checked less often, every twentieth part
    of its age, so that the state machine's history cannot run full; never longer than the share of
    ``max_seconds`` that keeps a whole release within :data:`MAX_CHECKS`.
    """
    longest = rules.max_seconds * (len(rules.steps) + 1) / MAX_CHECKS
    return max(1, rules.check_seconds, math.ceil(min(elapsed / 20, longest)))


def lock_seconds(wait: int) -> int:
    """How long a release keeps its lock without a sign of life. Each check takes it anew."""
    return max(900, 3 * wait)
