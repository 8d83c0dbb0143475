"""The training container's entry point: ``python -m mlops.training.job train``.

The same code as the train function, between SageMaker's folders. It reads the channels, trains, and writes the files
of the version into the model folder; it knows neither AWS nor the registry, so its job can run without a network.

Exit codes, and what stands before the colon in the failure file (:func:`mlops.retrain.jobs.cause_of` reads it):

====  =====================  ===============================================================================
code  failure file           meaning
====  =====================  ===============================================================================
0                            trained; ``model/`` is complete
64    ``job: …``             the job's description or its channels are wrong
65    ``not_trainable: …``   the rows cannot give a model
70    ``code: …``            a fault of the code
137   ``memory: …``          out of memory (the kernel's own kill has the same code, and writes nothing)
143                          told to stop (SIGTERM): every finished trial is in ``checkpoints/``
====  =====================  ===============================================================================
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import numpy
import sklearn

from mlops.errors import MlopsError
from mlops.features.columns import Columns
from mlops.training.checkpoint import FileCheckpoint
from mlops.training.container import DATASET, JOB, RESULT, JobDescription, Layout
from mlops.training.dataset import NotTrainableError
from mlops.training.fit import Trained, fit, version_id
from mlops.training.progress import Progress, Trace
from mlops.training.service import dataset_table

DONE, BAD_JOB, BAD_DATA, FAULT, NO_MEMORY, STOPPED = 0, 64, 65, 70, 137, 143


class _Terminated(BaseException):
    """SIGTERM: 120 seconds are left, and everything worth keeping is kept already."""


def main(arguments: list[str]) -> int:
    """Train between the folders below ``--root`` and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mlops.training.job", description="Trains in a container.")
    parser.add_argument("command", nargs="?", default="train", choices=["train"], help="what SageMaker says")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="folder of inputs and outputs")
    wanted = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    layout = Layout(wanted.root)
    try:
        train(layout)
    except _Terminated:
        print("told to stop; the trials that are done are kept", flush=True)
        return STOPPED
    except NotTrainableError as error:
        return _failed(layout, BAD_DATA, "not_trainable", error.message)
    except MlopsError as error:
        return _failed(layout, BAD_JOB, "job", error.message)
    except MemoryError:
        return _failed(layout, NO_MEMORY, "memory", f"{_peak_mb()} MB were not enough")
    except Exception as error:  # whatever it is, the failure file has to name it
        # The place and not the message: that may hold a value of somebody's data.
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno} in {place.name}"
        return _failed(layout, FAULT, "code", f"{type(error).__name__} at {where}")
    return DONE


def train(layout: Layout) -> Trained:
    """Train what the channels describe and fill the model folder.

    Raises
    ------
    NotTrainableError
        when the rows cannot give a model.
    MlopsError
        when the job cannot be carried out as it is described.
    """
    started = time.monotonic()
    job = _checked(layout)
    version = version_id(job.contract, job.dataset_version)
    checkpoint = FileCheckpoint(layout.checkpoints, _key(version))
    if checkpoint.trials:
        print(f"going on after {checkpoint.trials} trials of an earlier start", flush=True)
    trace = Trace(_say, time.monotonic)
    table = dataset_table(job.contract, [Columns.load(layout.part(part)) for part in job.parts])
    trained = fit(
        table,
        job.contract,
        dataset_version=job.dataset_version,
        lineage={**job.lineage, "run_id": job.run_id, "parts": list(job.parts)},
        parent_version=job.parent_version,
        recipe=layout.recipe(),
        listen=trace,
        checkpoint=checkpoint,
    )
    layout.model.mkdir(parents=True, exist_ok=True)
    for name, body in trained.artifacts.items():
        (layout.model / name).write_bytes(body)
    result = {
        "version": version,
        "rows": table.rows,
        "seconds": round(time.monotonic() - started, 3),
        "peak_mb": _peak_mb(),
        "resumed_trials": checkpoint.trials,
        "progress": trace.lines,
    }
    (layout.model / RESULT).write_text(json.dumps(result), encoding="utf-8")
    return trained


def _checked(layout: Layout) -> JobDescription:
    absent = {DATASET, JOB} - layout.channels()
    if absent:
        raise MlopsError(f"inputdataconfig.json names no channel '{min(absent)}'", code="bad_job")
    if layout.hosts() != 1:
        raise MlopsError(f"the job has {layout.hosts()} machines, and this training uses one", code="bad_job")
    job = layout.job()
    # The hyperparameters are what people see of a job; they must be of the job that runs.
    shown = layout.hyperparameters()
    for name, value in (("model", job.contract.name), ("dataset_version", job.dataset_version)):
        if shown.get(name, value) != value:
            raise MlopsError(f"hyperparameter {name} is '{shown[name]}', job.json says '{value}'", code="bad_job")
    return job


def _key(version: str) -> str:
    """Scores of another scikit-learn are not comparable to the last digit."""
    return f"{version} scikit-learn {sklearn.__version__} numpy {numpy.__version__}"


def _say(progress: Progress) -> None:
    print(f"{progress.stage} {progress.percent} % {progress.message}", flush=True)


def _failed(layout: Layout, code: int, cause: str, message: str) -> int:
    layout.fail(cause, message)
    print(f"{cause}: {message}", file=sys.stderr, flush=True)
    return code


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _terminate(*_: Any) -> NoReturn:
    raise _Terminated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
