"""A contract that changes keeps what a person wrote around it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlops.contract import Contract, Target
from mlops.contract.patching import patched
from mlops.contract.source import dump, load_text
from mlops.features.spec import Feature

FLOW = """\
# Who buys again. Ask Ada before changing anything.
name: shop
task: classification

target: {name: bought, classes: [no, yes], positive: yes}  # within 30 days

features:
  # from the account
  - {name: age, type: integer, minimum: 0, maximum: 120}  # in whole years
  - {name: income, type: number, minimum: 0}  # euros
  # from the order
  - {name: plan, type: category, categories: [basic, pro]}
  - {name: active, type: boolean}  # on the day before

ignore: [comment]  # free text

# gates:
#   minimum: {}
"""
BLOCK = """\
name: shop
task: classification
target:
  name: bought  # within 30 days
  classes:
    - no
    - yes
  positive: yes
features:
  - name: age       # in whole years
    type: integer
    # nobody is older
    minimum: 0
    maximum: 120

  - type: number
    name: income    # euros
    minimum: 0
  - name: plan
    type: category
    categories:
      - basic       # free
      - pro
  - name: active    # on the day before
    type: boolean
ignore:
  - comment
"""
FEATURES = (
    Feature("age", "integer", minimum=0, maximum=120),
    Feature("income", "number", minimum=0),
    Feature("plan", "category", categories=("basic", "pro")),
    Feature("active", "boolean"),
)
BEFORE = Contract("shop", "classification", Target("bought", ("no", "yes"), "yes"), FEATURES, ignore=("comment",))
AGE, INCOME, PLAN, ACTIVE = FEATURES
AFTER: dict[str, Contract] = {
    "nothing": BEFORE,
    "a wider range": replace(BEFORE, features=(replace(AGE, maximum=130), INCOME, PLAN, ACTIVE)),
    "no range": replace(BEFORE, features=(replace(AGE, minimum=None, maximum=None), INCOME, PLAN, ACTIVE)),
    "a new field": replace(
        BEFORE, features=(AGE, replace(INCOME, nullable=True), PLAN, replace(ACTIVE, nullable=True))
    ),
    "new categories": replace(
        BEFORE, features=(AGE, INCOME, replace(PLAN, categories=("basic", "pro", "team", "no")), ACTIVE)
    ),
    "another type": replace(
        BEFORE, features=(Feature("age", "category", categories=("old", "1")), INCOME, PLAN, ACTIVE)
    ),
    "a new name": replace(BEFORE, features=(AGE, replace(INCOME, name="Income_"), PLAN, ACTIVE)),
    "one column less": replace(BEFORE, features=(INCOME, PLAN, ACTIVE)),
    "the last one less": replace(BEFORE, features=(AGE, INCOME, PLAN)),
    "columns more": replace(BEFORE, features=(*FEATURES, Feature("visits", "integer"), Feature("on: x", "date"))),
    "a class more": replace(BEFORE, target=replace(BEFORE.target, classes=("no", "yes", "later"), positive=None)),
    "ignored columns more": replace(BEFORE, ignore=("comment", "source", "null")),
    "all at once": replace(
        BEFORE,
        features=(replace(AGE, maximum=130.5), replace(PLAN, name="tariff"), ACTIVE, Feature("visits", "integer")),
        ignore=("comment", "source"),
        timestamp="at",
    ),
}


@pytest.mark.parametrize("change", AFTER)
@pytest.mark.parametrize("text", [FLOW, BLOCK, dump(BEFORE)], ids=["flow", "block", "as written by init"])
def test_only_the_places_that_change_are_written(text: str, change: str) -> None:
    after = AFTER[change]
    assert load_text(text) == BEFORE
    found = patched(text, BEFORE, after)
    assert found is not None
    assert load_text(found) == after
    kept = {line.split("#")[1] for line in text.splitlines() if "#" in line}
    gone = {" in whole years"} if len(after.features) < 4 or after.features[0].type == "category" else set()
    gone |= {" on the day before", " nobody is older", " euros"} if len(after.features) < 4 else set()
    gone |= {" euros", " nobody is older"} if change in ("all at once", "another type", "no range") else set()
    gone |= {" metrics and the threshold speak of this class"} if after.target.positive is None else set()
    assert kept - gone <= {line.split("#")[1] for line in found.splitlines() if "#" in line}
    if change == "nothing":
        assert found == text


def test_one_place_changes_one_line() -> None:
    found = patched(FLOW, BEFORE, AFTER["a wider range"])
    assert found == FLOW.replace("maximum: 120", "maximum: 130")
    found = patched(BLOCK, BEFORE, AFTER["new categories"])
    assert found == BLOCK.replace("      - pro\n", '      - pro\n      - team\n      - "no"\n')


@pytest.mark.parametrize(
    "text",
    [
        FLOW.replace("minimum: 0, max", "minimum: &a 0, max").replace("number, minimum: 0", "number, minimum: *a"),
        BLOCK.removesuffix("ignore:\n  - comment\n") + "ignore: [comment]",
        FLOW.replace("\n", "\r\n"),
    ],
    ids=["an alias", "no last line break", "line ends of Windows"],
)  # fmt: skip
def test_what_cannot_be_changed_in_places_is_not_guessed(text: str) -> None:
    assert load_text(text) == BEFORE
    for after in AFTER.values():
        found = patched(text, BEFORE, after)
        assert found is None or load_text(found) == after
