"""`mlops contract diff`: what a file would change, and what is written only when a person accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops.cli.app import run
from mlops.contract.source import load
from mlops.data.local import check_file

LINES = [f"{20 + i % 40},{('basic', 'pro')[i % 2]},{('no', 'yes')[i % 3 == 0]}\n" for i in range(90)]
ROWS = "age,plan,bought\n" + "".join(LINES)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.csv").write_text(ROWS)
    Path("new.csv").write_text(ROWS.replace("pro", "team"))
    assert run(["init", "old.csv", "--target", "bought", "--name", "shop"]) == 0


def test_nothing_is_written_until_it_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("models/shop.yaml").read_text()
    assert run(["contract", "diff", "models/shop.yaml", "old.csv"]) == 0
    assert "keeps models/shop.yaml as it is" in capsys.readouterr().out
    assert run(["contract", "diff", "models/shop.yaml", "new.csv"]) == 1
    shown = capsys.readouterr().out
    assert "'plan' has 1 new categories: team" in shown
    assert "categories: [basic, pro, team]" in shown
    assert Path("models/shop.yaml").read_text() == before
    Path("models/shop.yaml").write_text(before.replace("features:\n", "features:  # agreed with Ada\n"))
    assert run(["--json", "contract", "diff", "models/shop.yaml", "new.csv", "--accept"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["accepted"], told["new_data_set"]) == (True, False)
    assert "features:  # agreed with Ada\n" in Path("models/shop.yaml").read_text()
    contract = load("models/shop.yaml")
    assert contract.digest() == told["digest"]
    assert check_file("new.csv", contract)["status"] != "rejected"


def test_a_rejected_file_names_the_command() -> None:
    Path("gone.csv").write_text("age,bought\n30,no\n31,yes\n")
    found = check_file("gone.csv", load("models/shop.yaml"))
    assert "mlops contract diff models/shop.yaml" in found["reasons"][0]["message"]
