"""What ``predict`` reads from its environment, and where it finds the model set."""

from __future__ import annotations

import os
from collections.abc import Mapping

import orjson

MAX_ROWS = 10_000
MAX_BODY_BYTES = 5_000_000
BUDGET_MS = 50.0
EAGER_BYTES = 64_000_000


class Route:
    """How one model's traffic is split during a release; ``share`` is the challenger's part, 0 to 1."""

    __slots__ = ("release", "share", "step")

    def __init__(self, share: float, step: str = "", release: str = "") -> None:
        self.share = share
        self.step = step
        self.release = release


class InferenceSettings:
    """Environment of ``predict``.

    Attributes
    ----------
    stack : ``MLOPS_STACK``, a dimension of the metrics.
    models_dir : the folder that holds ``set.json``; empty when no model set was found.
    routes : ``MLOPS_ROUTES``, models under release only.
    routes_error : why ``MLOPS_ROUTES`` was not usable; champions then answer everything.
    pseudonym_key : ``MLOPS_PSEUDONYM_KEY``; without it entities and pseudonymised features are left out of captures.
    max_rows : ``MLOPS_MAX_ROWS``, records in one request.
    max_body_bytes : ``MLOPS_MAX_BODY_BYTES``, of the body after base64 and gzip.
    budget_ms : ``MLOPS_CHALLENGER_BUDGET_MS``, how long an answer waits for a challenger, besides ten times what
        the champion took.
    cors_origin : ``MLOPS_CORS_ORIGIN``, empty for none.
    eager_bytes : ``MLOPS_EAGER_BYTES``, model files up to this total are loaded before the first request.
    """

    def __init__(
        self,
        *,
        stack: str = "",
        models_dir: str = "",
        routes: Mapping[str, Route] | None = None,
        routes_error: str = "",
        pseudonym_key: bytes = b"",
        max_rows: int = MAX_ROWS,
        max_body_bytes: int = MAX_BODY_BYTES,
        budget_ms: float = BUDGET_MS,
        cors_origin: str = "",
        eager_bytes: int = EAGER_BYTES,
    ) -> None:
        self.stack = stack
        self.models_dir = models_dir
        self.routes = routes or {}
        self.routes_error = routes_error
        self.pseudonym_key = pseudonym_key
        self.max_rows = max_rows
        self.max_body_bytes = max_body_bytes
        self.budget_ms = budget_ms
        self.cors_origin = cors_origin
        self.eager_bytes = eager_bytes

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> InferenceSettings:
        """Read the environment. A bad number keeps its default: a typo must not take predictions down."""
        routes, error = parse_routes(environment.get("MLOPS_ROUTES", ""))
        return cls(
            stack=environment.get("MLOPS_STACK", ""),
            models_dir=find_models_dir(environment),
            routes=routes,
            routes_error=error,
            pseudonym_key=environment.get("MLOPS_PSEUDONYM_KEY", "").encode()[:64],
            max_rows=_positive(environment, "MLOPS_MAX_ROWS", MAX_ROWS),
            max_body_bytes=_positive(environment, "MLOPS_MAX_BODY_BYTES", MAX_BODY_BYTES),
            budget_ms=_positive(environment, "MLOPS_CHALLENGER_BUDGET_MS", int(BUDGET_MS)),
            cors_origin=environment.get("MLOPS_CORS_ORIGIN", ""),
            eager_bytes=_positive(environment, "MLOPS_EAGER_BYTES", EAGER_BYTES),
        )


def on_lambda(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is a Lambda function's, where models are loaded before the first request."""
    return "AWS_LAMBDA_FUNCTION_NAME" in environment


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else default


def parse_routes(text: str) -> tuple[dict[str, Route], str]:
    """``MLOPS_ROUTES`` as typed routes, and why it could not be used ("" when it could).

    Routes that cannot be read never stop predictions: the champions answer everything, and the release that
    wrote them sees the reason in the answer to its ``describe`` task.
    """
    if not text.strip():
        return {}, ""
    try:
        data = orjson.loads(text)
        routes = {}
        for name, route in data.items():
            share = float(route.get("share", 0.0))
            if not 0.0 <= share <= 1.0:
                return {}, f"MLOPS_ROUTES: the share of '{name}' is {share}, not between 0 and 1"
            routes[str(name)] = Route(share, str(route.get("step", "")), str(route.get("release", "")))
    except (ValueError, TypeError, AttributeError) as error:
        return {}, f"MLOPS_ROUTES is not a JSON object of routes ({type(error).__name__})"
    return routes, ""


def find_models_dir(environment: Mapping[str, str]) -> str:
    """The folder with ``set.json``.

    ``MLOPS_MODELS_DIR`` if set; else the last of ``_LAMBDA_LAYERS_DIRS`` (a local engine's unpacked layers, a
    later one wins) that holds a model set; else ``/opt/models``; else "".
    """
    explicit = environment.get("MLOPS_MODELS_DIR", "")
    if explicit:
        candidates = [explicit, os.path.join(explicit, "models")]
    else:
        layers = [d for d in environment.get("_LAMBDA_LAYERS_DIRS", "").split(os.pathsep) if d]
        candidates = [os.path.join(d, "models") for d in [*reversed(layers), "/opt"]]
    for candidate in candidates:
        if os.path.isfile(os.path.join(candidate, "set.json")):
            return candidate
    return ""
