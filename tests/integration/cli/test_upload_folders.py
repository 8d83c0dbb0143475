"""`mlops upload` of a folder or a prefix: what is said before anything is sent, what is sent, and what is started."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from mlops.cli.app import run
from mlops.contract.source import load
from tests.cloudformation import ROOT
from tests.integration.cli.conftest import Account

MODEL = "diabetes"


@pytest.fixture
def folder(account: Account) -> Path:
    account.bench.push_contract(load(ROOT / "models" / f"{MODEL}.yaml"), actor="user:ann", reason="x")
    made = Path("history")
    (made / "old").mkdir(parents=True)
    (made / "01.csv").write_text("a\n1\n")
    (made / "old" / "02.csv.gz").write_bytes(gzip.compress(b"a\n2\n"))
    (made / ".hidden").write_text("x")
    return made


def started() -> list[dict[str, Any]]:
    """The inputs of the executions that were started, oldest first."""
    client = boto3.client("stepfunctions")
    machine = next(m for m in client.list_state_machines()["stateMachines"] if m["name"].endswith("-bulk"))
    found = client.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
    found.sort(key=lambda e: e["startDate"])
    return [json.loads(client.describe_execution(executionArn=e["executionArn"])["input"]) for e in found]


def sent() -> list[str]:
    return [o["Key"] for o in boto3.client("s3").list_objects_v2(Bucket="trial-data").get("Contents", [])]


def test_a_dry_run_lists_and_sends_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["upload", MODEL, "history", "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [f["name"] for f in shown["files"]] == ["01.csv", "old/02.csv.gz"]
    assert run(["upload", MODEL, "history", "--dry-run"]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert run(["upload", MODEL, "history/01.csv", "--dry-run"]) == 0
    assert (sent(), started()) == ([], [])


def test_a_folder_goes_to_one_place_and_starts_one_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["upload", MODEL, "history", "--no-wait", "--reason", "two years", "--max-failed", "0.5"]
    assert run(call) == 0
    keys = sent()
    assert [k.split("/", 3)[-1] for k in keys] == ["01.csv", "old/02.csv.gz"]
    assert all(k.startswith(f"bulk/{MODEL}/") for k in keys), "not incoming/, where each would go alone"
    assert run(call) == 0
    assert sent() == keys, "the same files have the same place"
    request = {
        "model": MODEL, "prefix": keys[0].removesuffix("01.csv"), "only": "", "max_failed": 0.5, "actor": "user:ann",
        "reason": "two years",
    }  # fmt: skip
    assert started() == [request, request]


def test_another_bucket_is_copied_and_the_stacks_own_is_read_where_it_lies(folder: Path) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="elsewhere")
    for name in ("2025/a.csv", "2025/b.csv", "2025/notes.txt", "2025/"):
        s3.put_object(Bucket="elsewhere", Key=name, Body=b"a\n1\n")
    assert run(["upload", MODEL, "s3://elsewhere/2025/", "--only", "*.csv", "--no-wait"]) == 0
    keys = sent()
    assert [k.rsplit("/", 1)[-1] for k in keys] == ["a.csv", "b.csv"]
    prefix = keys[0].removesuffix("a.csv")
    assert run(["upload", MODEL, f"s3://trial-data/{prefix}", "--only", "b*", "--no-wait"]) == 0
    assert sent() == keys
    assert [(r["prefix"], r["only"]) for r in started()] == [(prefix, ""), (prefix, "b*")]


MISTAKES = {
    "nothing of that name": (["absent/"], "absent/: no such file or folder"),
    "an empty folder": (["empty"], "there is no file to upload"),
    "nothing that matches": (["history", "--only", "*.parquet"], "none of the 2 files in history matches"),
    "no data": (["strange"], "do not look like data: notes.docx"),
    "mixed kinds": (["mixed"], "several kinds of files (1 CSV, 1 Parquet)"),
    "quarantine": ([f"s3://trial-data/quarantine/{MODEL}/x/"], "is quarantine"),
    "results of ours": (["s3://trial-data/datasets/"], f"holds no uploads of '{MODEL}'"),
    "another model's": (["s3://trial-data/bulk/other/x/"], f"holds no uploads of '{MODEL}'"),
    "an empty prefix": ([f"s3://trial-data/bulk/{MODEL}/none/"], "there is no file to upload"),
    "no bucket": (["s3:///x"], "names no bucket"),
}


@pytest.mark.parametrize(("words", "text"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_said_before_anything_is_sent(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    for name, files in {"empty": [".x"], "strange": ["notes.docx", "a.csv"], "mixed": ["a.csv", "a.parquet"]}.items():
        Path(name).mkdir()
        for file in files:
            (Path(name) / file).write_text("x")
    assert run(["upload", MODEL, *words, "--no-wait"]) == 1
    assert text in capsys.readouterr().err
    assert (sent(), started()) == ([], [])


def test_without_a_contract_nothing_is_sent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["upload", "bakery", "history", "--no-wait"]) == 1
    assert "mlops push" in capsys.readouterr().err
    assert sent() == []
