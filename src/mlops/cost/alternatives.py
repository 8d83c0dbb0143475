"""The same load on services that are charged by the hour or priced otherwise, for comparison.

Each SageMaker way gets the stack's own front door (API, token check, traces), because an endpoint by itself only
answers callers with AWS credentials. Compared is serving alone: capture, logs, alarms, monitoring, retraining and
releases are left out on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from mlops.cost.load import Load
from mlops.cost.usage import GIB, HOURS_PER_MONTH, Quantity

#: Peak over mean request rate for which instances are provisioned, and the share of a core that is used at peak.
PEAK = Decimal(4)
_BUSY = Decimal("0.5")
#: Core seconds of a request on a server (FastAPI and onnxruntime, one row: measured 1/3585 s) and of each row more.
_REQUEST_CORE = Decimal(1) / 3585
_ROW_CORE = Decimal("0.0000048")
#: A container around the model adds to each request; the billed time of SageMaker serverless includes it.
_SERVERLESS_MS = Decimal(10)


@dataclass(frozen=True)
class Alternative:
    """A way to serve the load: its month's quantities and what to know about it."""

    name: str
    quantities: tuple[Quantity, ...]
    note: str


def alternatives(w: Load, door: Sequence[Quantity]) -> list[Alternative]:
    """SageMaker real time (one and two instances), SageMaker serverless, a Fargate service behind a balancer.

    ``door``: the quantities of the front door, :func:`mlops.cost.load.front_door`.
    """
    return [
        _real_time(w, door, 1, "no redundancy"),
        _real_time(w, door, 2, "in two zones"),
        _serverless(w, door),
        _fargate(w),
    ]


def cores(w: Load) -> Decimal:
    """Cores that the load needs at its peak."""
    return w.rate * PEAK * (_REQUEST_CORE + _ROW_CORE * (w.rows - 1)) / _BUSY


def _real_time(w: Load, door: Sequence[Quantity], least: int, note: str) -> Alternative:
    count = max(least, int((cores(w) / 2).to_integral_value(ROUND_CEILING)))
    return Alternative(
        f"SageMaker real time, {count} x ml.m5.large",
        (
            Quantity("sagemaker.hosting.ml.m5.large", HOURS_PER_MONTH * count, "endpoint", f"{count} x 730 h"),
            Quantity("sagemaker.data_gb", _moved(w), "endpoint", "requests and responses / 2^30"),
            *door,
        ),
        f"at least {least}, {note}; behind the same API and authorizer",
    )


def _serverless(w: Load, door: Sequence[Quantity]) -> Alternative:
    """The smallest memory that SageMaker serverless offers is 1 GB."""
    duration = _SERVERLESS_MS + w.rows * _ROW_CORE * 1000
    seconds = w.requests * duration / 1000
    basis = f"{w.requests} x {duration:.2f} ms x 1 GB"
    return Alternative(
        "SageMaker serverless, 1 GB",
        (
            Quantity("sagemaker.serverless_gb_seconds", seconds, "endpoint", basis),
            Quantity("sagemaker.data_gb", _moved(w), "endpoint", "requests and responses / 2^30"),
            *door,
        ),
        f"{_SERVERLESS_MS} ms of container time a request assumed; behind the same API and authorizer",
    )


def _fargate(w: Load) -> Alternative:
    tasks = max(2, int((cores(w) / Decimal("0.5")).to_integral_value(ROUND_CEILING)))
    hours = HOURS_PER_MONTH * tasks
    # One load-balancer capacity unit is 25 new connections a second or 1 GB an hour; ten requests a connection.
    units = max(w.rate / 250, _moved(w) / HOURS_PER_MONTH)
    return Alternative(
        f"Fargate, {tasks} x 0.5 vCPU, behind a load balancer",
        (
            Quantity("fargate.vcpu_hours", hours / 2, "service", f"{tasks} x 0.5 vCPU x 730 h"),
            Quantity("fargate.gb_hours", hours, "service", f"{tasks} x 1 GB x 730 h"),
            Quantity("alb.hours", HOURS_PER_MONTH, "balancer", "730 h"),
            Quantity("alb.lcu_hours", units * HOURS_PER_MONTH, "balancer", f"{units:.4f} units x 730 h"),
            Quantity("vpc.public_ipv4_hours", HOURS_PER_MONTH * (2 + tasks), "addresses", f"{2 + tasks} x 730 h"),
            _out(w),
        ),
        "two tasks in two zones; tokens are checked by the service itself",
    )


def _moved(w: Load) -> Decimal:
    return Decimal(w.requests) * (w.request_bytes + w.response_bytes) / GIB


def _out(w: Load) -> Quantity:
    return Quantity("transfer.out_gb", Decimal(w.requests) * w.response_bytes / GIB, "responses", "responses / 2^30")
