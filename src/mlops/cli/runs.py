"""Following what runs, and stopping it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.cli.app import Session, session
from mlops.errors import MlopsError

if TYPE_CHECKING:
    from mlops.aws.workbench import Execution
    from mlops.retrain.runs import Runs

#: Seconds between two looks at how far a run is.
_PAUSE = 0.5


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.command("stop", rich_help_panel="Models")(stop)


def stop(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run in progress, or its model.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")],
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="Go on with the best model so far: the gates judge it as usual.")
    ] = False,
) -> int:
    """Stop a training at its next look, within seconds. Nothing comes of it, unless --keep-best says otherwise.

    Example: `mlops stop churn --reason "wrong file uploaded"`
    """
    current = session(context)
    done = runs(current).stop(run, keep_best=keep_best, actor=current.actor, reason=reason)
    current.out.result(done)
    how = "with its best model so far" if keep_best else "without a model"
    current.out.say(f"{done['run_id']}: {'told to end ' + how if done['asked'] else 'was told to stop before'}")
    return 0


def runs(current: Session) -> Runs:
    """The runs of the session's stack."""
    from datetime import UTC, datetime

    from mlops.retrain.runs import Runs

    bench = current.workbench
    return Runs(bench.registry, bench.ledger, lambda: datetime.now(UTC))


def wait_for(
    current: Session,
    execution: str,
    say: Callable[[str], None],
    machine: str = "PipelineArn",
    *,
    model: str | None = None,
    seconds: float = 3600,
) -> Execution:
    """Wait until an execution has ended. ``say`` hears of each state, for a ``model`` how far its training
    is, and of a release what its evidence says."""
    from mlops.release.report import told as told_release
    from mlops.retrain.runs import told

    watched = runs(current)
    state, line = "", ""

    def entered(name: str) -> None:
        nonlocal state
        state = name
        say(f"at {name}")

    def paused() -> None:
        nonlocal line
        if machine == "ReleaseArn" and state == "WaitForTraffic":
            found = current.workbench.release_state(execution)
            if found and told_release(found) != line:
                line = told_release(found)
                say(line)
        if model is None or state != "Train":
            return
        progress = watched.progress(model, execution)
        if progress is not None and told(progress) != line:
            line = told(progress)
            say(line)

    return current.workbench.wait(execution, machine, seconds=seconds, on_state=entered, on_pause=paused)


def output_of(
    current: Session,
    run: str,
    *,
    machine: str,
    function: str,
    what: str,
    look: Callable[[], tuple[str, int, int]],
    deadline: float,
) -> Any:
    """Follow a run over many items with a bar until it has ended; returns its output.

    Parameters
    ----------
    machine, function : what runs it; whose log tells why it stopped.
    what : what it does, beside the bar.
    look : what is counted now, how many of them are done, and how many there are.
    deadline : until when to wait, by ``time.monotonic``.

    Raises
    ------
    MlopsError
        when it did not succeed, or goes on beyond the deadline.
    """
    with current.out.count_bar(what) as show:
        while time.monotonic() < deadline:
            ended = current.workbench.execution(run, machine)
            counted, done, total = look()
            show(done, total, counted)
            if ended and ended.ended:
                if ended.status != "SUCCEEDED":
                    raise MlopsError(
                        f"{run} stopped ({ended.error or ended.status}); `mlops logs {function}` says why. The same "
                        "command again goes on from there"
                    )
                return ended.output
            time.sleep(_PAUSE)
    raise MlopsError(f"{run} goes on, but has not ended in time; the same command again follows it")


def watch(current: Session, named: str) -> int:
    """Follow a run in progress, line by line, until it has ended."""
    model, run = runs(current).find(named)
    ended = wait_for(current, run, current.out.note, model=model)
    current.out.result(ended)
    told = [ended.output.get(name, "") for name in ("outcome", "explanation")]
    current.out.say(f"{ended.status}: {' '.join(str(word) for word in told if word)}")
    return 0 if ended.status == "SUCCEEDED" else 1
