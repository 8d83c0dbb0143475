"""The build script: what is pruned, what bytecode ships, and the budgets that the layers state."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.cloudformation import ROOT, resources

LAYERS = sorted(p.parent.name for p in (ROOT / "layers").glob("*/layer.toml"))
#: AWS's limit for a function with its layers, unzipped, in MiB.
LIMIT = 250
#: What first-party code may take in a function's zip, in MiB, and models in the model layer of predict.
CODE, MODELS = 5, 90


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_script", ROOT / "scripts" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load()


def recipe(name: str) -> dict[str, object]:
    return tomllib.loads((ROOT / "layers" / name / "layer.toml").read_text())


def test_every_layer_has_its_dependency_group() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert set(LAYERS) <= set(groups)


@pytest.mark.parametrize("function", resources("AWS::Serverless::Function"))
def test_budgets_of_a_function_s_layers_stay_below_the_limit(function: str) -> None:
    layers = [r["Ref"] for r in resources("AWS::Serverless::Function")[function]["Properties"]["Layers"]]
    total = CODE
    for layer in layers:
        name = layer.removesuffix("Layer").lower()
        total += MODELS if layer == "ModelLayerArn" else int(str(recipe(name)["budget_mib"]))
    assert total <= LIMIT


def test_prune_removes_what_is_never_read(tmp_path: Path) -> None:
    keep = ["pkg/a.py", "pkg-1.dist-info/METADATA", "pkg/data.json"]
    drop = ["pkg/a.pyi", "pkg/tests/test_a.py", "pkg/a.h", "pkg-1.dist-info/RECORD", "tool/x.py", "bin/run"]
    for name in keep + drop:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    build.prune(tmp_path, ["tool"])
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == sorted(keep)


def test_prune_refuses_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        build.prune(tmp_path, ["vanished"])


def test_bytecode_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # PEP 552: flags 0b01 means hash-based and not checked, so new file times do not matter.
    monkeypatch.setenv("MLOPS_BUILD_PYTHON", f"{sys.version_info.major}.{sys.version_info.minor}")
    (tmp_path / "m.py").write_text("x = 1\n")
    build.compile_bytecode(tmp_path, "/opt/python")
    compiled = next(tmp_path.glob("__pycache__/*.pyc")).read_bytes()
    assert int.from_bytes(compiled[4:8], "little") == 0b01
    assert b"/opt/python" in compiled
    assert str(tmp_path).encode() not in compiled


def test_bytecode_without_docstrings_has_the_ordinary_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_BUILD_PYTHON", f"{sys.version_info.major}.{sys.version_info.minor}")
    (tmp_path / "m.py").write_text('def f():\n    """Long words for people."""\n    return 7\n')
    build.compile_bytecode(tmp_path, "/opt/python", docstrings=False)
    (compiled,) = tmp_path.glob("__pycache__/*.pyc")
    assert b"Long words" not in compiled.read_bytes()
    spec = importlib.util.spec_from_file_location("m", tmp_path / "m.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.f(), module.f.__doc__) == (7, None)  # the bytecode was taken, not the source


def test_only_modules_that_are_there_are_emptied(tmp_path: Path) -> None:
    (tmp_path / "docs.py").write_text("add('words')\n")
    build.empty(tmp_path, ["docs.py"])
    assert (tmp_path / "docs.py").read_text() == ""
    with pytest.raises(SystemExit):
        build.empty(tmp_path, ["vanished.py"])


def test_a_python_is_found_beside_this_one_when_the_launcher_on_path_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A version manager puts launchers on PATH for versions that are not switched on; they fail.
    for name, script in {"launchers/python3.99": "exit 127", "3.99.0/bin/python3.99": "echo 3.99"}.items():
        program = tmp_path / name
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'launchers'}:/usr/bin:/bin")
    monkeypatch.setenv("MLOPS_BUILD_PYTHON", "3.99")
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "3.11.7"))
    assert build._interpreter() == str(tmp_path / "3.99.0" / "bin" / "python3.99")


def test_what_is_no_python_of_the_version_makes_no_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "3.99.0" / "bin" / "python3.99"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 3.98\n")
    program.chmod(0o755)
    monkeypatch.setenv("MLOPS_BUILD_PYTHON", "3.99")
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "3.11.7"))
    (tmp_path / "m.py").write_text("x = 1\n")
    build.compile_bytecode(tmp_path, "/var/task")
    assert not list(tmp_path.rglob("*.pyc"))
    # `sam build` shows only standard output of a build that succeeds.
    assert "without bytecode" in capsys.readouterr().out
