"""From where on a column differs: the contract's threshold, or what training itself showed where that is more.

What training showed may be so much that nothing would ever be drift: a column that was recorded in another way for a
while, or a window so short that it never looks like the whole. So a learned threshold is bounded, and it does not apply
to a window whose values training did not have at all.
"""

from __future__ import annotations

from mlops.contract import Drift
from mlops.statistics.axis import Axis
from mlops.statistics.tally import Tally

#: Largest threshold that is learned, as PSI. A window that lies altogether in one of twenty equal bins has 5.3 with 200
#: rows, the fewest for which PSI is taken of them, and more with more; the methods taken below that reach theirs too.
MOST_LEARNED = 5.0
#: Of what is not missing in training, the largest share that may go missing before it is drift, whatever was learned.
MOST_MISSING = 0.5
#: Share of values that training did not have from which nothing learned applies.
STRANGE = 0.5


def of_values(axis: Axis, old: Tally, new: Tally, policy: Drift, learned: float) -> float:
    """The threshold for a difference of values, in PSI, of which training's own periods showed ``learned``; the
    contract's own where more than half of the new values are of a kind that training did not have: outside its range,
    or levels that it does not name."""
    if strange(axis, new) - strange(axis, old) > STRANGE:
        return policy.threshold
    return max(policy.threshold, min(learned, MOST_LEARNED))


def of_missing(old: Tally, policy: Drift, learned: float) -> float:
    """The threshold for a change of the share of missing values."""
    was = old.missing / old.known if old.known else 0.0
    return max(policy.threshold / 2, min(learned, MOST_MISSING * (1 - was)))


def strange(axis: Axis, tally: Tally) -> float:
    """Share of present values that no cell of the axis names."""
    beyond = tally.other if axis.kind == "category" else tally.below + tally.above
    return beyond / tally.present if tally.present else 0.0


def of_relation(policy: Drift, learned: float) -> float:
    """The threshold for a changed correlation. It has no bound: a week of rows that depend on each other may show any
    correlation, and both columns are still watched by themselves."""
    return max(policy.threshold, learned)
