"""Logs, metrics and correlation for every function but ``predict``.

Powertools gives the log format and the embedded metrics; this module decides the field's conventions once.
Event bodies are never logged: they may hold personal data. Nor are stack traces and the messages of exceptions that
are not ours, unless the log level is DEBUG.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from mlops.aws.clients import error_code
from mlops.errors import fault, hide_traces, where

NAMESPACE = "ServerlessMLOps"

Handler = Callable[[Any, Any], Any]

_logger = Logger(service="mlops")
_metrics = Metrics(namespace=NAMESPACE, service="mlops")


def logger() -> Logger:
    """The function's structured logger."""
    return _logger


def metric(name: str, value: float, unit: MetricUnit = MetricUnit.Count) -> None:
    """Add a metric to this invocation's embedded metrics. A custom metric costs money: keep them few."""
    _metrics.add_metric(name=name, unit=unit, value=value)


def metric_of(model: str, name: str, value: float, unit: MetricUnit = MetricUnit.NoUnit) -> None:
    """Print a metric of one model. Every model that has one costs as much as a metric: keep them fewer still."""
    function = _metrics.default_dimensions.get("function", "")
    dimensions = {"service": "mlops", "function": function, "model": model}
    with single_metric(name=name, unit=unit, value=value, namespace=NAMESPACE, default_dimensions=dimensions):
        pass


def observed(service: str) -> Callable[[Handler], Handler]:
    """Decorate a handler: log context, correlation id, outcome, and an ``Errors``-free service metric.

    ``correlation_id`` comes from the event (state machine input), else the event's own id, else the request.
    An exception that is not ours leaves as a :class:`mlops.errors.Fault` of the same name, without its message; none
    leaves with a stack trace. With the log level DEBUG they are left alone.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def wrapped(event: Any, context: Any) -> Any:
            request_id = getattr(context, "aws_request_id", "")
            _logger.clear_state()
            _logger.append_keys(service=service, function_request_id=request_id)
            _logger.set_correlation_id(_correlation(event) or request_id)
            _metrics.clear_default_dimensions()  # of another function that ran in this process, as in tests
            _metrics.clear_metrics()
            _metrics.set_default_dimensions(function=service)
            try:
                result = handler(event, context)
            except Exception as error:
                metric("Faults", 1)
                if _logger.log_level <= logging.DEBUG:
                    _logger.exception("fault")
                    raise
                code = error_code(error) or getattr(error, "code", "")
                _logger.error("fault", extra={"type": type(error).__name__, "code": code, "place": where(error)})
                hide_traces()
                raise fault(error, code=error_code(error)) from None
            else:
                metric("Invocations", 1)
                status = result.get("status") if isinstance(result, dict) else None
                _logger.info("done", extra={"outcome": status})
                return result
            finally:
                print_metrics()

        return wrapped

    return decorate


def print_metrics() -> None:
    """Flush the embedded metrics of this invocation to the log."""
    _metrics.flush_metrics(raise_on_empty_metrics=False)


def _correlation(event: Any) -> str:
    if not isinstance(event, dict):
        return ""
    for key in ("correlation_id", "run_id", "id"):
        value = event.get(key)
        if isinstance(value, str) and value:
            return value
    return ""
