"""The layout's rules, read from the source: who may import what, who reads the environment, what is documented."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SRC = ROOT / "src"
DOMAIN = sorted(
    p
    for p in (SRC / "mlops").rglob("*.py")
    if p.relative_to(SRC / "mlops").parts[0] not in ("aws", "cli", "__main__.py")
)
EVERYTHING = sorted((SRC / "mlops").rglob("*.py"))
FUNCTIONS = sorted((ROOT / "functions").rglob("*.py"))
AWS_LIBRARIES = {"boto3", "botocore", "s3transfer"}
#: Who may look at the environment: the settings; the command line, which is a program of its own; and what prints a
#: request's lines, because Lambda puts the trace of each request into the environment.
READS_ENVIRONMENT = {
    "mlops/settings.py",
    "mlops/inference/settings.py",
    "mlops/inference/emit.py",
    "mlops/cli/app.py",
    "mlops/cli/connection.py",
}
#: Methods whose name says everything in this code base.
CONVENTIONS = {"to_dict", "from_dict", "to_json", "from_json"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removeprefix("src/")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node: ast.AST) -> Iterator[str]:
    """Modules that are imported anywhere below, by their full names; relative imports are not allowed at all."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom):
            assert inner.level == 0, "imports are absolute"
            yield str(inner.module)
            yield from (f"{inner.module}.{alias.name}" for alias in inner.names)


def top(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def below(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def environment_reads(node: ast.AST) -> list[int]:
    """Lines that name ``os.environ``, ``os.getenv`` or what is imported from there."""
    return [
        inner.lineno
        for inner in ast.walk(node)
        if (isinstance(inner, ast.Attribute) and inner.attr in ("environ", "environb", "getenv", "putenv"))
        or (
            isinstance(inner, ast.ImportFrom)
            and inner.module == "os"
            and {a.name for a in inner.names} & {"environ", "getenv"}
        )
    ]


def test_the_source_is_found():
    assert len(DOMAIN) > 80
    assert len(FUNCTIONS) == 18


@pytest.mark.parametrize("path", DOMAIN, ids=named)
def test_the_domain_knows_neither_aws_nor_its_callers(path):
    found = set(imports(tree(path)))
    assert not {name for name in found if top(name) in AWS_LIBRARIES}
    assert not {name for name in found if below(name, "mlops.aws") or below(name, "mlops.cli")}
    assert not {name for name in found if top(name) in ("functions", "local", "tests")}


@pytest.mark.parametrize("path", EVERYTHING, ids=named)
def test_the_environment_is_read_in_one_place(path):
    if named(path) in READS_ENVIRONMENT:
        assert environment_reads(tree(path)), "it reads nothing any more: take it out of the list"
    else:
        assert environment_reads(tree(path)) == []


@pytest.mark.parametrize("path", FUNCTIONS, ids=named)
def test_handlers_are_thin(path):
    found = tree(path)
    allowed = {"mlops", "aws_lambda_powertools", "__future__"} | set(sys.stdlib_module_names)
    assert {top(name) for name in imports(found)} <= allowed
    assert environment_reads(found) == []
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.parametrize("path", FUNCTIONS, ids=named)
def test_importing_a_handler_calls_nothing(path):
    """At import a handler defines names. Clients and settings come from a cached factory."""
    done = [
        n for n in tree(path).body if not isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)
    ]
    called = [ast.unparse(statement) for statement in done if any(isinstance(n, ast.Call) for n in ast.walk(statement))]
    # predict loads its models at once on Lambda, where the initialisation has a whole core.
    expected = ["if on_lambda():\n    application()"] if path.parent.name == "predict" else []
    assert called == expected


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public classes, functions and methods, without overloads and setters."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not inner.name.startswith("_"):
            yield inner
            if isinstance(inner, ast.ClassDef):
                yield from public(inner)


def ports() -> set[str]:
    """Methods that a Protocol of the domain declares: the port says what they do, not every adapter again."""
    found = set()
    for path in EVERYTHING:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases):
                found |= {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


PORT_METHODS = ports()


def says_itself(method: ast.AST) -> bool:
    """A method of a port or of a convention, or one of a single statement, which is its own description."""
    if isinstance(method, ast.ClassDef) or not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return method.name in PORT_METHODS | CONVENTIONS or len(method.body) == 1


@pytest.mark.parametrize("path", EVERYTHING, ids=named)
def test_what_is_public_says_what_it_is(path):
    found = tree(path)
    assert ast.get_docstring(found), "the module has no docstring"
    methods = {id(m) for n in ast.walk(found) if isinstance(n, ast.ClassDef) for m in n.body}
    missing = [
        f"{node.lineno} {node.name}"
        for node in public(found)
        if not ast.get_docstring(node) and not (id(node) in methods and says_itself(node))
    ]
    assert missing == []


@pytest.mark.parametrize("path", EVERYTHING, ids=named)
def test_no_assert_no_broad_except_no_long_file(path):
    found = tree(path)
    assert [n.lineno for n in ast.walk(found) if isinstance(n, ast.Assert)] == [], "python -O would drop it"
    lines = path.read_text(encoding="utf-8").splitlines()
    caught = [n for n in ast.walk(found) if isinstance(n, ast.ExceptHandler) and not isinstance(n.body[-1], ast.Raise)]
    assert [n.lineno for n in caught if n.type is None or ast.unparse(n.type) == "BaseException"] == []
    broad = [n.lineno for n in caught if n.type is not None and ast.unparse(n.type) == "Exception"]
    assert [line for line in broad if "  # " not in lines[line - 1]] == [], "say why everything is caught"
    assert len(lines) <= 500


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nx = os.environ['A']", [2]),
        ("import os\nx = os.getenv('A')", [2]),
        ("from os import environ", [1]),
        ("import os\nx = os.path.join('a')", []),
    ],
)
def test_the_check_sees_reads_of_the_environment(source, expected):
    assert environment_reads(ast.parse(source)) == expected


def test_the_check_sees_imports_inside_functions():
    source = "def f():\n    from mlops.aws import clients\n    import boto3.session"
    assert {"mlops.aws.clients", "boto3.session"} <= set(imports(ast.parse(source)))
