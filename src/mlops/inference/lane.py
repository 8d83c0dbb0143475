"""The short way for a request of one plain record, which nearly all are: one function, few objects, no array made.

It does what :mod:`mlops.inference.application` does for such a request, with the same words, and gives up (``None``) at
the first thing that is not plainly right, before anything is printed: the request then goes the general way from its
start. Tests hold that both give the same answer and print the same lines.

Why a second way: a session's trees displace Python's objects from the nearest cache, so that the general way costs
twice in a request what its parts cost in a loop (docs/performance.md). Here a model's reader is written as Python
source and compiled, matrix and scores lie in two buffers that the session is bound to, and a request touches little
else. Loaded at the second request, so a cold start does not pay for it.
"""

from __future__ import annotations

import math
import os
import struct
import time
from _thread import allocate_lock
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from mlops.features.layout import width
from mlops.features.spec import Feature
from mlops.inference.emit import is_sampled, timestamp, write
from mlops.inference.engine import bind
from mlops.inference.parsing import NAN, codes_of, high_of, low_of

if TYPE_CHECKING:
    from mlops.features.encoding import Matrix
    from mlops.inference.application import Application
    from mlops.inference.models import Model

#: Longer bodies, and models of more columns, go the general way, where the length of a line is looked at.
MAX_BODY = 50_000
MAX_COLUMNS = 1000

Quick = Callable[[Mapping[str, Any]], "dict[str, Any] | None"]


class Lane:
    """One model's reader and the two buffers that its session is bound to."""

    __slots__ = ("count", "lock", "model", "rate", "read", "run", "scores", "texts")

    def __init__(self, model: Model) -> None:
        features = model.manifest.features
        self.model = model
        self.texts = model.texts
        self.count = len(features)
        self.rate = model.manifest.capture_rate
        matrix = np.zeros((1, width(features)), np.float32)
        self.scores = np.zeros((1, model.columns), np.float32)
        self.read = reader(features, matrix)
        self.run = bind(model.session, matrix, self.scores, model.output)
        self.lock = allocate_lock()  # the buffers serve one request at a time; another one goes the general way


def reader(features: Sequence[Feature], matrix: Matrix) -> Callable[[dict[str, Any]], bool]:
    """A function that writes a record into ``matrix`` (float32, (1, width)), or says ``False`` if it is not plain.

    The source is made of words that stand here alone: names, levels and limits of the model are values it refers to.
    """
    known: dict[str, Any] = {"NAN": NAN, "matrix": matrix, "pack": struct.Struct(f"{len(features)}f").pack_into}
    lines = []
    for i, feature in enumerate(features):
        known[f"name{i}"] = feature.name
        lines.append(f"v{i} = record[name{i}]")
        if feature.type == "category":
            known[f"codes{i}"] = codes_of(feature)
            lines.append(f"v{i} = codes{i}[v{i}]")
            continue
        test = f"type(v{i}) is not bool"
        if feature.type != "boolean":
            known |= {f"low{i}": low_of(feature), f"high{i}": high_of(feature)}
            test = f"type(v{i}) is not int" + ("" if feature.type == "integer" else f" and type(v{i}) is not float")
            test += f" or not low{i} <= v{i} <= high{i}"
        refuse = f"if {test}: return False"
        lines += [f"if v{i} is None: v{i} = NAN", f"el{refuse}"] if feature.nullable else [refuse]
    lines.append(f"pack(matrix, 0, {', '.join(f'v{i}' for i in range(len(features)))})")
    lines.append("return True")
    head = f"def read(record, {', '.join(f'{name}={name}' for name in known)}):"
    exec("\n ".join([head, *lines]), known)  # noqa: S102 - of our own words, see above
    read: Callable[[dict[str, Any]], bool] = known["read"]
    return read


def has_lane(application: Application, model: Model) -> bool:
    """Whether plain requests for a champion can go the short way: it answers alone, and records are captured as
    they are."""
    manifest = model.manifest
    entry = application.models.entries[manifest.model]
    return (
        (entry.challenger is None or manifest.model not in application.settings.routes)
        and application.capture.is_open(manifest)
        and 0 < len(manifest.features) == model.parser.width  # a date has three columns
        and model.columns <= MAX_COLUMNS
    )


def build(application: Application) -> Quick:
    """The short way of one application, for every model that can go it; made for a model when it is first asked for."""
    lanes: dict[str, Lane | None] = {}
    limit = min(application.settings.max_body_bytes, MAX_BODY)
    loads, dumps, now, random, isfinite = orjson.loads, orjson.dumps, time.perf_counter_ns, os.urandom, math.isfinite
    headers, metrics = application.headers, application.metrics

    def lane_of(name: str) -> Lane | None:
        if name not in lanes:
            entry = application.models.entry(name)
            model = application.models.try_load(name, entry.champion)
            lanes[name] = Lane(model) if model is not None and has_lane(application, model) else None
        return lanes[name]

    def quick(event: Mapping[str, Any]) -> dict[str, Any] | None:
        started = now()
        try:
            body, context = event["body"], event["requestContext"]
            if (
                event["path"] != "/predict"
                or event["httpMethod"] != "POST"
                or event["isBase64Encoded"]
                or len(body) > limit
                or "\n" in body
                or "\r" in body
            ):
                return None
            request, caller = loads(body), context["authorizer"]
            name, scopes, models = request["model"], caller["scopes"], caller["models"]
            (record,) = request["records"]
            lane = lanes.get(name) or lane_of(name)
            # two braces open and two close: none stands in a text, and the record is what is between them
            _, before, after = body.split("{")
            inside, _, _ = after.split("}")
            if (
                lane is None
                or "}" in before
                or (scopes != "predict" and "predict" not in scopes.split())
                or (models != "*" and name not in models.split())
                # no other field, and as many colons as keys: no key is there twice (see `refuse_duplicate_keys`)
                or len(request) != 2
                or len(record) != lane.count
                or body.count(":") != lane.count + 2
                or not lane.lock.acquire(False)
            ):
                return None
            try:
                if not lane.read(record):
                    return None
                loaded = now()
                lane.run()
                (row,) = lane.scores.tolist()
            finally:
                lane.lock.release()
            microseconds = (now() - loaded) // 1000
            request_id = dumps(context["requestId"]).decode()
            if not isfinite(sum(row)):
                return None
        except Exception:  # whatever it is, the general way meets it again and says what it is
            return None
        texts, inference_id = lane.texts, random(16).hex()
        cells = dumps(row).decode()[1:-1]
        response = {
            "statusCode": 200,
            "headers": {**headers, "X-Model-Version": lane.model.version, "X-Inference-Id": inference_id},
            "body": texts.answer_one(inference_id, row, cells),
        }
        lines = []
        if lane.rate >= 1.0 or is_sampled(inference_id, lane.rate):
            at = timestamp(time.time())
            lines.append(texts.capture_one(at, request_id, inference_id, inside, cells, microseconds))
        lines.append(metrics.line(name, (now() - started) // 1000))
        write(lines)
        return response

    return quick
