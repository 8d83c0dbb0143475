"""The simulated year: the figures in the docs are its own, and policies keep to what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.retraining.__main__ import compare, plot, table
from benchmarks.retraining.simulate import CONTRACT, POLICIES, live
from benchmarks.retraining.world import DAYS, Assumptions, draw

ROOT = Path(__file__).parents[3]
CALM = Assumptions(walk=0.0, season=0.0, jumps=0)


def test_the_table_and_the_figure_of_the_docs_are_the_simulations(tmp_path: Path) -> None:
    rows, shown = compare(20)
    page = (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8")
    assert table(rows) in page, f"docs/retraining.md should say:\n{table(rows)}"
    plot(shown, tmp_path / "p.svg")
    drawn = ROOT / "docs" / "figures" / "retraining.svg"
    assert (tmp_path / "p.svg").read_text() == drawn.read_text(), "python -m benchmarks.retraining --plot " + str(drawn)


def test_the_same_year_is_lived_by_all_and_the_same_seed_gives_the_same_year() -> None:
    assert draw(3, Assumptions()) == draw(3, Assumptions()) != draw(4, Assumptions())
    first, again = (live(POLICIES["launcher"], draw(3, CALM), CALM) for _ in range(2))
    assert (first.launches, first.usd, first.staleness) == (again.launches, again.usd, again.staleness)


def test_noise_alone_makes_the_alarms_retrain_and_the_launcher_wait() -> None:
    """Nothing ever changes, checks are noisy: what is launched is a false alarm, or the schedule."""
    noisy = replace(CALM, noise=0.6)
    year = draw(1, noisy)
    launched = {name: len(live(policy, year, noisy).launches) for name, policy in POLICIES.items()}
    assert launched["never"] == 0
    assert launched["every alarm"] > 3 * launched["launcher"]
    assert launched["launcher"] <= DAYS / (CONTRACT.retrain.every_days or 1) + 3


def test_the_launcher_keeps_cool_down_weekly_number_and_budget() -> None:
    wild = Assumptions(walk=0.3, budget_usd=6.3)
    for seed in range(3):
        life = live(POLICIES["launcher"], draw(seed, wild), wild)
        gaps = [b - a for a, b in zip(life.launches, life.launches[1:], strict=False)]
        assert all(gap * 24 >= CONTRACT.retrain.cooldown_hours for gap in gaps)
        assert life.decisions["held by budget"] > 0, "30 cents a month are soon spent"
