"""predict: score records with the models of the model-set layer. Reached through API Gateway; see docs/predict.md."""

from __future__ import annotations

import functools
from typing import Any

from mlops.inference.application import Application
from mlops.inference.settings import on_lambda


@functools.cache
def application() -> Application:
    """Models and settings of this process; tests replace it."""
    return Application.from_env()


def handler(event: dict[str, Any], context: Any) -> Any:
    """A REST proxy event gives a proxy response; ``{"task": ...}`` gives that task's result."""
    return application().handle(event, context)


if on_lambda():  # the initialisation has a full core whatever the memory size, and SnapStart keeps its result
    application()
