"""A model of somebody's own goes through the same gates as any other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from mlops.contract import Contract
from mlops.evaluation.answering import Given
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.features.encoding import encode, width
from mlops.training.fit import Trained
from mlops.training.given import GoldenRowsError, read_given
from mlops.training.golden import records
from mlops.training.own import OwnModel, wrap_file
from mlops.training.parity import pack
from tests.unit.evaluation.test_evaluate_service import MODEL, World, checks
from tests.unit.training import tables

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("task", tables.CLASSES)
def test_an_own_file_is_judged_by_the_same_gates(task: str, tmp_path: Path) -> None:
    world = World(task, "linear")
    made_elsewhere = world.file(world.train(), "model.onnx")
    unseen = tables.table(task, world.contract.features, rows=200, seed=3)

    trained = wrap_file(unseen, world.contract, made_elsewhere, tmp_path, created=NOW)

    folder = tmp_path / trained.manifest.version
    for path in folder.iterdir():
        world.artifacts.put(f"models/{MODEL}/{trained.manifest.version}/{path.name}", path.read_bytes())
    result = world.evaluate(trained.manifest.version)
    assert result["status"] == "accepted", result["reasons"]
    assert {"parity", "better_than_trivial", "robustness", "valid_answers"} <= set(checks(result))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["lineage"]["rows"]["holdout"] == 200
    assert manifest["lineage"]["parity"].startswith("against itself")
    assert wrap_file(unseen, world.contract, made_elsewhere, tmp_path, created=NOW).artifacts == trained.artifacts


def test_a_bad_own_model_is_rejected_like_any_other(tmp_path: Path) -> None:
    world = World("binary", "linear")
    other = tables.table("binary", world.contract.features, rows=240)
    np.random.default_rng(2).shuffle(other["y"].values)
    useless = world.file(world.train(other), "model.onnx")
    unseen = tables.table("binary", world.contract.features, rows=200, seed=3)
    trained = wrap_file(unseen, world.contract, useless, tmp_path, created=NOW)
    assert not checks(judge(world, trained, {}))["better_than_trivial"]


NOISE = [node("RandomNormalLike", ["z"], ["r"], scale=0.5), node("Add", ["z", "r"], ["s"])]
AMONG_OTHERS = [node("ReduceMean", ["z"], ["m"], axes=[0]), node("Sub", ["z", "m"], ["s"])]
PLAIN = [node("Identity", ["z"], ["s"])]
ENDS = {
    "right": [node("Sigmoid", ["s"], ["p"]), node("Sub", ["one", "p"], ["q"])],
    "sum": [node("Sigmoid", ["s"], ["p"]), node("Identity", ["p"], ["q"])],
    "nan": [node("Log", ["s"], ["p"]), node("Sub", ["one", "p"], ["q"])],
}


def made(middle: list[onnx.NodeProto], end: str = "right", columns: tuple[str, str] = ("q", "p")) -> bytes:
    """A logistic regression on ``a`` and ``b`` that is as good as can be, but for what is changed in it."""
    constants = {"w": [[0.15], [0.1]], "c": [-12.5], "one": [1.0]}
    nodes = [
        node("MatMul", ["input", "w"], ["x"]),
        node("Add", ["x", "c"], ["z"]),
        *middle,
        *ENDS[end],
        node("Concat", list(columns), ["probabilities"], axis=1),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "elsewhere",
        [value("input", onnx.TensorProto.FLOAT, [None, 2])],
        [value("probabilities", onnx.TensorProto.FLOAT, [None, 2])],
        [onnx.numpy_helper.from_array(np.array(v, np.float32), name) for name, v in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    body: bytes = model.SerializeToString()
    return body


def named_columns(classes: list[str]) -> bytes:
    """A model as converters write it: the node that answers names its columns."""
    sign = 1.0 if classes[1] == "yes" else -1.0
    answer = onnx.helper.make_node(
        "LinearClassifier", ["input"], ["label", "scores"], domain="ai.onnx.ml", classlabels_strings=classes,
        coefficients=[-0.15 * sign, -0.1 * sign, 0.15 * sign, 0.1 * sign], intercepts=[12.5 * sign, -12.5 * sign],
        post_transform="SOFTMAX",
    )  # fmt: skip
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [answer, node("Cast", ["scores"], ["probabilities"], to=onnx.TensorProto.FLOAT)],
        "converted",
        [value("input", onnx.TensorProto.FLOAT, [None, 2])],
        [value("probabilities", onnx.TensorProto.FLOAT, [None, 2])],
    )
    domains = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    body: bytes = onnx.helper.make_model(graph, opset_imports=domains, ir_version=9).SerializeToString()
    return body


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (made(NOISE), r"repeatable: .* rows .*; held-out row 0: \[0\.\d+, 0\.\d+\], then \[0"),
        (made(AMONG_OTHERS), r"alone_as_in_batch: .* allowed 1.0e-05\); held-out row \d+: \[.*\], then \[0.5, 0.5\]"),
        (made(PLAIN, "sum"), r"valid_answers: .*; held-out row 0 is answered \[.*\], with the sum "),
        (made(PLAIN, "nan"), r"valid_answers: .*; held-out row \d+ is answered \[nan, nan\]"),
        (made(PLAIN, columns=("p", "q")), "class_order: .* column 1 tells 'no', column 0 tells 'yes'"),
        (named_columns(["yes", "no"]), r"class_order: the file says that its columns are \['yes', 'no'\]"),
    ],
    ids=["noise", "batch", "sum", "nan", "swapped", "named"],
)
def test_answers_that_nobody_can_rely_on_are_refused_with_row_and_difference(
    model: bytes, said: str, tmp_path: Path
) -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    with pytest.raises(ModelRefusedError, match=said):
        wrap_file(tables.table("binary", tables.NUMBERS), contract, model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_gates_look_themselves(tmp_path: Path) -> None:
    """A folder can be made by hand: what `wrap` would have refused, the gates refuse."""
    world = World("binary", "linear")
    world.contract = tables.contract("binary", tables.NUMBERS)
    world.registry.put_contract(world.contract)
    table = tables.table("binary", tables.NUMBERS)
    for good in (made(PLAIN), named_columns(["no", "yes"])):
        trained = wrap_file(table, world.contract, good, tmp_path, created=NOW)
        assert judge(world, trained, {})["status"] == "accepted"
    for bad, check in ((AMONG_OTHERS, "alone_as_in_batch"), (NOISE, "repeatable")):
        model = made(bad)
        manifest = replace(trained.manifest, onnx_sha256=hashlib.sha256(model).hexdigest())
        files = {"model.onnx": model, "manifest.json": json.dumps(manifest.to_dict()).encode()}
        assert not checks(judge(world, trained, files))[check]


GOLDEN = b"""a,b,expected,expected_yes
50,50,yes,0.5
60,50,yes,0.8175745
40,50,no,
"""


def golden(folder: Path, body: bytes, contract: Contract, name: str = "golden.csv", tolerance: float = 1e-4) -> Given:
    path = folder / name
    path.write_bytes(body)
    return read_given(path, contract, tolerance)


def test_golden_rows_are_answered_as_the_author_says(tmp_path: Path) -> None:
    world = World("binary", "linear")
    world.contract = tables.contract("binary", tables.NUMBERS)
    world.registry.put_contract(world.contract)
    table, out = tables.table("binary", tables.NUMBERS), tmp_path / "out"
    given = golden(tmp_path, GOLDEN, world.contract)

    trained = wrap_file(table, world.contract, made(PLAIN), out, given=given, created=NOW)

    assert trained.manifest.lineage["parity"].endswith("3 golden rows within 0.0001")
    assert trained.manifest.version != wrap_file(table, world.contract, made(PLAIN), out).manifest.version
    result = judge(world, trained, {})
    assert result["status"] == "accepted"
    (check,) = (c for c in result["checks"] if c["name"] == "golden_rows")
    assert check["message"].startswith("3 of 3 golden rows")
    assert "allowed 1.0e-04" in check["message"]
    other = pack(
        OwnModel(b"", OnnxScorer(made(PLAIN), 2, 2)), given.inputs, **replace(given, labels=1 - given.labels).arrays()
    )
    assert not checks(judge(world, trained, {"parity.npz": other}))["golden_rows"]
    damaged = other[: len(other) // 2]
    assert judge(world, trained, {"parity.npz": damaged})["status"] == "rejected"


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        (
            "g.csv",
            GOLDEN.replace(b"0.8175745", b"0.8175"),
            r"2 of 3 .*allowed 1.0e-05\); row 2: expected \[not told, 0.8175\], answered .* \(difference 7.4e-05\)",
        ),
        (
            "g.jsonl",
            b'{"a": 60, "b": 50, "expected": "no"}\n',
            r"0 of 1 .*; row 1: expected 'no', answered 'yes' \[0.18242\d*, 0.81757",
        ),
    ],
)
def test_golden_rows_that_differ_are_named(name: str, body: bytes, said: str, tmp_path: Path) -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    given = golden(tmp_path, body, contract, name, 1e-5)
    with pytest.raises(ModelRefusedError, match=said):
        wrap_file(tables.table("binary", tables.NUMBERS), contract, made(PLAIN), tmp_path / "out", given=given)


@pytest.mark.parametrize("off", [0.0, 1e-3])
def test_golden_values_of_a_regression(off: float, tmp_path: Path) -> None:
    world = World("regression")
    body = world.file(world.train(), "model.onnx")
    unseen = tables.table("regression", world.contract.features, rows=60, seed=3)
    own = OwnModel(body, OnnxScorer(body, width(world.contract.features), 0))
    values = own.scores(encode(world.contract.features, unseen))[:, 0]
    rows = records(world.contract, unseen.take(np.arange(20)))
    lines = [json.dumps({**row, "expected": values[i] * (1 + off)}) for i, row in enumerate(rows)]
    given = golden(tmp_path, "\n".join(lines).encode(), world.contract, "g.jsonl")
    if not off:
        wrap_file(unseen, world.contract, body, tmp_path / "out", given=given)
        return
    with pytest.raises(ModelRefusedError, match=r"golden_rows: .*row 1: expected"):
        wrap_file(unseen, world.contract, body, tmp_path / "out", given=given)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a,b\n1,2\n", "tells no answer; it needs one of the columns expected, expected_no, expected_yes"),
        (b"a,expected\n1,yes\n", "lacks the feature 'b'"),
        (b"a,b,expected\n1,2,perhaps\n", "row 1: 'perhaps' is no class; they are no, yes"),
        (b"a,b,expected_yes\n1,2,0.5\n1,2,high\n", "row 2: 'expected_yes' is 'high', which is no number"),
        (b"a,b,expected,expected_maybe\n1,2,yes,1\n", "'expected_maybe' names no class"),
        (b"a,b,expected\n1,2,yes\n1,2,\n", "row 2: no answer is told"),
        (b"a,b,expected\n1,two,yes\n", "row 1: 'b' must be a whole number"),
        (b"a,b,expected\n,2,yes\n", "row 1: .*'a'"),
        (b"a,b,expected\n", "no rows"),
    ],
)
def test_a_file_of_golden_rows_says_what_is_wrong_with_it(body: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(GoldenRowsError, match=said):
        golden(tmp_path, body, tables.contract("binary", tables.NUMBERS))


def judge(world: World, trained: Trained, changed: dict[str, bytes]) -> dict[str, Any]:
    for name, body in {**trained.artifacts, **changed}.items():
        world.change(trained.manifest.version, name, body)
    return world.evaluate(trained.manifest.version)


def test_a_file_that_is_no_such_model_is_refused(tmp_path: Path) -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    table = tables.table("binary", tables.NUMBERS)
    with pytest.raises(ModelRefusedError, match="does not load"):
        wrap_file(table, contract, b"no model", tmp_path)
    world = World("regression")
    body = world.file(world.train(), "model.onnx")
    with pytest.raises(ModelRefusedError, match="takes shape"):
        wrap_file(table, contract, body, tmp_path)


def test_the_threshold_of_an_own_model_is_the_contracts(tmp_path: Path) -> None:
    world = World("binary", "linear")
    body = world.file(world.train(), "model.onnx")
    table = tables.table("binary", world.contract.features, rows=200, seed=3)
    costs = {"false_positive": 1, "false_negative": 4}
    for decision, threshold in (({"threshold": 0.3}, 0.3), (costs, 0.2), ({}, 0.5)):
        contract = Contract.from_dict({**world.contract.to_dict(), "decision": decision})
        assert wrap_file(table, contract, body, tmp_path).manifest.threshold == pytest.approx(threshold)
