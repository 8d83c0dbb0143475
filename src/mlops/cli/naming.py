"""Commands about what people call versions: models alias, models tag, models search."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from mlops.cli.app import Session, session
from mlops.cli.output import when
from mlops.errors import MlopsError, NotFoundError
from mlops.registry.entities import ModelVersion

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Reason = Annotated[str | None, typer.Option(help="Why; kept in the ledger. Needed for every change.")]

#: What `--help` says of a version that a command takes.
A_VERSION = "A version, the beginning of one, an alias, or champion, challenger, previous."


def register(models_app: typer.Typer) -> None:
    """Add these commands to `mlops models`."""
    for name, command in (("alias", alias), ("tag", tag), ("search", search)):
        models_app.command(name)(command)


def known(current: Session, model: str) -> None:
    """NotFoundError for a model without a contract."""
    if current.workbench.registry.contract(model) is None:
        raise NotFoundError(f"no model '{model}'; `mlops status` lists all")


def version_of(current: Session, model: str, word: str) -> ModelVersion:
    """The registered version that a word on the command line means."""
    from mlops.registry.naming import resolve

    registry = current.workbench.registry
    found = registry.version(model, resolve(registry, model, word))
    if found is None:
        raise NotFoundError(f"no version {word} of '{model}'; `mlops models list {model}` lists all")
    return found


def alias(
    context: typer.Context,
    model: Model,
    name: Annotated[str | None, typer.Argument(help="The alias; all are listed when not given.")] = None,
    version: Annotated[str | None, typer.Argument(help=f"What it shall mean: {A_VERSION.lower()}")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away.")] = False,
    reason: Reason = None,
) -> None:
    """A name for a version that you move when you like; it may stand wherever a version may. A version that has one is
    never retired. Every change is in the ledger.

    Example: `mlops models alias churn blessed 3f9c1f0a2b77 --reason "the audit of May"`
    """
    current = session(context)
    known(current, model)
    bench = current.workbench
    if name is None or (version is None and not remove):
        _aliases(current, model, name)
        return
    if version is not None and remove:
        raise MlopsError("--remove takes no version: it takes the alias away from whatever it means", code="usage")
    if version is None:
        done = bench.naming.remove(model, name, actor=current.actor, reason=reason or "")
        told = f"{name} names no version of {model} any more; it named {done.previous}"
    else:
        found = version_of(current, model, version)
        done = bench.naming.point(model, name, found.version, actor=current.actor, reason=reason or "")
        before = f", instead of {done.previous}" if done.previous else ""
        told = f"{name} means {model}/{done.version}{before}"
    current.out.result(done)
    current.out.say(told)


def _aliases(current: Session, model: str, name: str | None) -> None:
    registry = current.workbench.registry
    found = [a for a in registry.aliases(model) if a.version is not None and name in (None, a.name)]
    if name is not None and not found:
        raise NotFoundError(f"'{model}' has no alias '{name}'; give a version to make it")
    current.out.result(found)
    current.out.table(
        f"aliases of {model}",
        ["alias", "version", "since", "by"],
        [[a.name, a.version, when(a.time), a.actor] for a in found],
        details=[a.reason for a in found],
    )


def tag(
    context: typer.Context,
    model: Model,
    words: Annotated[
        list[str] | None, typer.Argument(help="A version, if it is not about the model; then KEY=VALUE, any number.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="Key of a tag to remove; may be given more than once.")
    ] = None,
    reason: Reason = None,
) -> None:
    """Tags of a model or of a version, to search for: set, remove, or show when neither is asked for.

    A tag's text goes into the ledger, which is never erased: no personal data in it.

    Example: `mlops models tag churn 3f9c1f0a2b77 team=risk audit=2026-05 --reason "audited"`
    """
    current = session(context)
    known(current, model)
    bench, rest = current.workbench, list(words or ())
    version = version_of(current, model, rest.pop(0)).version if rest and "=" not in rest[0] else None
    wrong = [word for word in rest if "=" not in word]
    if wrong:
        raise MlopsError(f"'{wrong[0]}' is no tag: KEY=VALUE", code="usage")
    given = {key.strip(): value.strip() for key, _, value in (word.partition("=") for word in rest)}
    if given or remove:
        done = bench.naming.tag(model, version, given, remove or (), actor=current.actor, reason=reason or "")
        tags: dict[str, str] = dict(done.tags)
    else:
        found = bench.registry.tagging(model, version)
        tags = dict(found.tags) if found else {}
    of = f"{model}/{version}" if version else model
    current.out.result({"model": model, "version": version, "tags": tags})
    current.out.table(f"tags of {of}", ["key", "value"], sorted([k, v] for k, v in tags.items()), elastic=["value"])


def search(
    context: typer.Context,
    terms: Annotated[list[str], typer.Argument(help="Terms such as auc>0.9 (in quotes); all must hold.")],
    limit: Annotated[int, typer.Option(help="How many to show, from the newest.", min=1)] = 50,
) -> None:
    """Versions of all models for which everything holds that is asked for.

    A term is a field, an operator (`= != > >= < <=`) and a value. Fields: `model`, `version`, `state`, `data` (the
    data-set version), `parent`, `contract`, `reason`, `alias`, `tag.KEY`; `trained` and `changed` with a time (`2026`,
    `2026-10`, `2026-10-04T12`) or an age (`30d`, `12h`); any metric with a number. A `*` at the end of a text stands
    for any rest.

    Example: `mlops models search "auc>0.9 state=champion tag.team=risk trained>=2026-10"`
    """
    from mlops.registry.search import find, parse

    current = session(context)
    registry, text, now = current.workbench.registry, " ".join(terms), datetime.now(UTC)
    found = find(registry, registry.models(), text, now)
    shown = found[:limit]
    asked = list(dict.fromkeys(parse(text, now).metrics))
    current.out.result({"versions": shown, "total": len(found)})
    rows: list[list[Any]] = [
        [v.model, v.version, v.state, when(v.created_at), *(v.metrics.get(name) for name in asked), called(v)]
        for v in shown
    ]
    headers = ["model", "version", "state", "trained", *asked, "called"]
    current.out.table(f"{len(found)} versions", headers, rows, elastic=["model", "called"])
    if len(found) > limit:
        current.out.say(f"{len(found) - limit} older ones are not shown: --limit {len(found)}")


def called(version: ModelVersion) -> str:
    """Aliases and tags of a version in one cell of a table."""
    return " ".join([*version.aliases, *(f"{key}={value}" for key, value in sorted(version.tags.items()))])
