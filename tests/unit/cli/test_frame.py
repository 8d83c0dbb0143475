"""The command line's frame: options anywhere, help that teaches, errors of one line."""

from __future__ import annotations

import errno
import getpass
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
)
from hypothesis import example, given
from hypothesis import strategies as st

from mlops import __version__
from mlops.cli import app, connection, faults, hoist, serving
from mlops.cli.app import application, run
from mlops.errors import ConfigurationError
from mlops.security.tokens import ALL_MODELS, SCOPES


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with no local stack above it, and an environment of its own."""
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith(("AWS_", "MLOPS_"))]:
        del os.environ[name]
    os.environ["COLUMNS"] = "100"
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def commands() -> dict[str, Any]:
    """Every command by its words, groups among them."""
    found = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        found[" ".join(words)] = command
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*words, name))

    walk(typer.main.get_command(application()), ())
    return found


COMMANDS = commands()


def test_the_commands_of_the_documentation_exist():
    assert {
        "init", "check", "push", "upload", "status", "train", "retrain", "release", "rollback", "refresh", "drift",
        "predict",
        "token", "ledger", "ledger verify", "ledger export", "models list", "models show", "models compare",
        "models import", "report list", "report get", "cost report", "cost estimate", "bootstrap", "logs",
        "contract schema",
    } <= set(COMMANDS)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_help_explains_the_command_and_each_of_its_options(words, capsys):
    assert run([*words.split(), "--help"]) == 0
    shown = capsys.readouterr()
    assert "Usage: mlops" in shown.out
    assert shown.err == ""
    command = COMMANDS[words]
    assert re.search(r"\w+ \w+ \w+", command.help or ""), "what is it for?"
    assert [p.name for p in command.params if not getattr(p, "help", None)] == []


@pytest.mark.parametrize("words", [w for w, c in COMMANDS.items() if not hasattr(c, "commands")])
def test_docs_cli_lists_the_command_and_its_options(words):
    reference = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^### `mlops ([^`]+)`\n(.*?)(?=^##|\Z)", reference, flags=re.MULTILINE | re.DOTALL))
    assert words in parts, "run: python -m mlops.cli.reference"
    for parameter in COMMANDS[words].params:
        if parameter.name not in ("help", "wait"):
            option = next((o for o in parameter.opts if o.startswith("--")), parameter.name)
            assert f"`{option}" in parts[words]


def test_a_command_without_words_shows_the_help(capsys):
    assert run([]) == 0
    assert "five steps" in capsys.readouterr().out


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_hoist_takes_options_from_anywhere():
    assert hoist(["status", "--stack=a", "m", "--json", "--region", "r"]) == [
        "--stack=a", "--json", "--region", "r", "status", "m",
    ]  # fmt: skip
    assert hoist(["status", "--region"]) == ["--region"]
    assert hoist([]) == []


@example(["--region=x", "--stack", "--stack"])
@given(st.lists(st.sampled_from(["--json", "--wide", "--stack", "--region=x", "a", "--", "--row", "{}"]), max_size=8))
def test_hoist_loses_and_adds_nothing(arguments):
    hoisted = hoist(arguments)
    if hoisted[-1:] == ["--stack"] and "--" not in hoisted:  # without its value: the parser is to name it
        assert set(hoisted) <= set(arguments)
    else:
        assert sorted(hoisted) == sorted(arguments)
        assert hoist(hoisted) == hoisted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command"),
        (["upload"], "Missing argument"),
        (["status", "--stack"], "requires an argument"),
        (["upload", "m", "f", "--minutes", "soon"], "--minutes"),
        (["token", "--minutes", "0"], "--minutes"),
        (["ledger", "list", "--limit", "0"], "--limit"),
        (["status", "--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_one_line(arguments, words, capsys):
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert words in shown.err
    assert "--help" in shown.err
    assert run([*arguments[:1], "--json", *arguments[1:]]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "usage"
    assert words in error["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["init", "absent.csv", "--target", "y"], "not_found", "absent.csv: no such file"),
        (["init", "folder", "--target", "y"], "not_found", "folder is a folder"),
        (["init", "binary", "--target", "y"], None, "binary"),
        (["init", "ok.csv", "--target", "z"], None, "no column 'z'"),
        (["check", "absent.yaml"], "not_found", "no such file"),
        (["check", "folder"], "not_found", "folder is a folder"),
        (["check", "binary"], None, "binary"),
        (["check", "empty.yaml"], "invalid_contract", "the contract is empty"),
        (["check", "wrong.yaml"], "invalid_contract", "not valid YAML"),
        (["train", "absent.yaml", "ok.csv", "--out", "models"], "not_found", "absent.yaml"),
        (["predict", "m", "--row", "{"], "bad_record", "--row is not JSON"),
        (["predict", "m", "--row", "[1]"], "bad_record", "JSON object"),
        (["predict", "m"], "no_record", "--row"),
        (["predict", "m", "--file", "folder"], "file", "folder: Is a directory"),
        (["predict", "m", "--file", "absent"], "file", "absent: No such file"),
        (["predict", "m", "--file", "binary"], "bad_record", "binary"),
        (["predict", "m", "--file", "numbers.json"], "bad_record", "record 2"),
        (["predict", "m", "--file", "broken.jsonl"], "bad_record", "neither a JSON list nor JSONL"),
        (["token", "--scope", "all"], "unknown_scope", "known: predict"),
        (["report", "list", "--kind", "gossip"], "unknown_kind", "kinds: ingest"),
        (["logs", "predict", "--since", "yesterday"], "usage", "10m"),
        (["cost", "estimate", "--requests-per-month", "1"], "not_found", "template.yaml is not a file"),
        (["cost", "estimate", "--requests-per-month", "1", "--template", "ok.csv"], None, "ok.csv"),
    ],
)
def test_what_cannot_be_done_is_exit_code_1_and_a_clear_message(arguments, code, words, elsewhere, capsys, monkeypatch):
    (elsewhere / "folder").mkdir()
    (elsewhere / "binary").write_bytes(bytes(range(128, 256)) * 20)
    (elsewhere / "empty.yaml").write_text("")
    (elsewhere / "wrong.yaml").write_text("name: [")
    (elsewhere / "ok.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    (elsewhere / "numbers.json").write_text('[{"a": 1}, 2]')
    (elsewhere / "broken.jsonl").write_text('{"a": 1}\n{"a": ')
    monkeypatch.setattr(app.connection, "connect", lambda *_: connection.Connection("s", "", False))
    assert run(arguments) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert run([*arguments, "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert words in error["message"]
    assert code in (None, error["code"])


def refused(code: str, message: str = "not you") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "PutItem")


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (
            refused("AccessDeniedException", "no right\nto do that"),
            "access_denied",
            "AWS denied PutItem: no right to do",
        ),
        (refused("AccessDenied"), "access_denied", "your credentials lack that right"),
        (refused("ExpiredTokenException"), "credentials", "log in again"),
        (refused("ThrottlingException", "slow down"), "aws", "slow down (ThrottlingException)"),
        (NoCredentialsError(), "credentials", "--profile"),
        (NoRegionError(), "configuration", "--region"),
        (ProfileNotFound(profile="x"), "credentials", "profile (x)"),
        (EndpointConnectionError(endpoint_url="http://10.0.0.1"), "unreachable", "http://10.0.0.1"),
        (PermissionError(errno.EACCES, "Permission denied", "secret.csv"), "file", "secret.csv: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "file", "No space left"),
    ],
)
def test_what_the_world_refuses_is_one_line(raised, code, words, capsys, monkeypatch):
    def connect(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(app.connection, "connect", connect)
    assert run(["status"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert words in shown.err
    assert run(["--json", "status"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def connect(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app.connection, "connect", connect)
    with pytest.raises(ZeroDivisionError):
        run(["status"])


def test_an_interrupt_is_said_and_is_130(capsys, monkeypatch):
    def connect(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app.connection, "connect", connect)
    assert run(["status"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_an_api_that_does_not_answer_is_named():
    error = faults.of_http(ConnectionRefusedError(111, "Connection refused"), "http://api")
    assert error.code == "unreachable"
    assert error.message == "the API at http://api does not answer: [Errno 111] Connection refused"


# Which stack ------------------------------------------------------------------------------------


def running(folder: Path, name: str, port: int) -> None:
    notes = folder / ".local" / name / "stack.json"
    notes.parent.mkdir(parents=True)
    notes.write_text(json.dumps({"name": name, "port": port, "pid": 1, "outputs": {}}))


def test_the_only_local_stack_is_found_from_a_folder_below(elsewhere, monkeypatch):
    running(elsewhere, "mlops-local", 4001)
    below = elsewhere / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert [name for name, _ in connection.local_stacks()] == ["mlops-local"]
    assert connection.use_stack(None, None, None) == "mlops-local"
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4001"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "test"


def test_the_nearest_folder_with_stacks_counts(elsewhere):
    running(elsewhere, "outer", 4001)
    inner = elsewhere / "inner"
    running(inner, "one", 4002)
    running(inner, "two", 4003)
    assert [name for name, _ in connection.local_stacks(inner)] == ["one", "two"]


def test_several_local_stacks_need_a_name(elsewhere):
    running(elsewhere, "one", 4002)
    running(elsewhere, "two", 4003)
    with pytest.raises(ConfigurationError, match=r"--stack \(one, two\)"):
        connection.use_stack(None, None, None)
    assert connection.use_stack("two", None, None) == "two"
    assert os.environ["AWS_ENDPOINT_URL"].endswith(":4003")


def test_the_environment_names_a_stack(elsewhere):
    running(elsewhere, "one", 4002)
    running(elsewhere, "two", 4003)
    os.environ["MLOPS_STACK"] = "one"
    assert connection.use_stack(None, None, None) == "one"


def test_an_account_is_never_mistaken_for_a_local_stack(elsewhere):
    running(elsewhere, "prod", 4002)
    os.environ["AWS_ACCESS_KEY_ID"] = "of-another-account"
    assert connection.use_stack("prod", "company", "eu-central-1") == "prod"
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert "AWS_ACCESS_KEY_ID" not in os.environ, "a profile that was named goes before keys in the environment"
    assert os.environ["AWS_PROFILE"] == "company"
    assert os.environ["AWS_REGION"] == os.environ["AWS_DEFAULT_REGION"] == "eu-central-1"


def test_another_name_goes_to_the_account(elsewhere):
    running(elsewhere, "mlops-local", 4002)
    assert connection.use_stack("mlops-prod", None, None) == "mlops-prod"
    assert "AWS_ENDPOINT_URL" not in os.environ


def test_without_anything_the_default_name(elsewhere):
    assert connection.use_stack(None, None, None) == "serverless-mlops"


@pytest.mark.parametrize("text", ["", "{}", "[]", "{"])
def test_damaged_notes_are_named(elsewhere, text):
    running(elsewhere, "one", 4002)
    (elsewhere / ".local" / "one" / "stack.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"stack\.json is damaged"):
        connection.use_stack(None, None, None)


# Who ---------------------------------------------------------------------------------------------


def test_the_actor_is_the_login_name_or_what_the_environment_says(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    found = app.Session(None, None, None, False)
    assert found.actor == "user:ann"
    os.environ["MLOPS_ACTOR"] = "ben"
    assert found.actor == "user:ben"


def test_the_ledger_takes_no_entry_without_a_name(monkeypatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    with pytest.raises(ConfigurationError, match="MLOPS_ACTOR"):
        _ = app.Session(None, None, None, False).actor


def test_scopes_are_those_of_the_tokens():
    assert serving.SCOPES == SCOPES
    assert serving.ALL_MODELS == ALL_MODELS


# init --------------------------------------------------------------------------------------------


def test_init_says_what_it_guessed_and_writes_it_beside_the_columns(elsewhere, capsys):
    rows = "".join(f"C{i},{i % 7},{'ab'[i % 2]},{'yes' if i % 3 else 'no'}\n" for i in range(120))
    (elsewhere / "customers.csv").write_text("customer_id,visits,plan,churned\n" + rows)
    assert run(["init", "customers.csv", "--target", "churned"]) == 0
    shown = capsys.readouterr().out
    assert "customers: classification of churned" in shown
    assert "positive class 'yes'" in shown
    written = (elsewhere / "models" / "customers.yaml").read_text()
    noted = [line for line in shown.splitlines() if line.startswith("  • customer_id: ")]
    assert len(noted) == 1
    assert noted[0].removeprefix("  • customer_id: ") in written, "the remark stands beside its column, too"
    assert run(["init", "customers.csv", "--target", "churned"]) == 1
    assert "--force" in capsys.readouterr().err
    assert run(["init", "customers.csv", "--target", "churned", "--force", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["contract"]["name"] == "customers"
    assert run(["init", "customers.csv", "--target", "churned", "--force", "--attribute", "plan"]) == 0
    assert "not seen by the model, which is judged by it: plan" in capsys.readouterr().out
    written = (elsewhere / "models" / "customers.yaml").read_text()
    assert "attributes:  # never seen by the model, which is judged by them\n  - {name: plan," in written
    assert result["notes"]
    assert run(["check", "models/customers.yaml", "--data", "customers.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["status"] == "accepted"
    (elsewhere / "other.csv").write_text("x;y\n1;2\n")
    assert run(["check", "models/customers.yaml", "--data", "other.csv"]) == 1
    assert "rejected" in capsys.readouterr().out


def test_the_schema_is_printed_for_editors(capsys):
    assert run(["contract", "schema"]) == 0
    assert "features" in json.loads(capsys.readouterr().out)["properties"]


def test_an_estimate_takes_the_region_that_stands_anywhere(capsys):
    template = Path(__file__).parents[3] / "template.yaml"
    line = ["cost", "estimate", "--requests-per-month", "1000", "--template", str(template), "--json"]
    assert run(line) == 0
    assert json.loads(capsys.readouterr().out)["region"] == "us-east-1"
    assert run([*line, "--region", "eu-central-1"]) == 0
    assert json.loads(capsys.readouterr().out)["region"] == "eu-central-1"
    assert run([*line[:-1], "--out", "estimate.html"]) == 0
    assert Path("estimate.html").read_text().startswith("<!doctype html>")
    assert "eu-" not in capsys.readouterr().out
