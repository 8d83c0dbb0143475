"""The floor with onnxruntime's extension module alone, without the package around it."""

import importlib.machinery
import importlib.util
import os

import numpy as np
import orjson
from onnx_model import PATH, matrix


def _extension():
    package = importlib.machinery.PathFinder.find_spec("onnxruntime").submodule_search_locations[0]
    name = "onnxruntime.capi.onnxruntime_pybind11_state"
    spec = importlib.machinery.PathFinder.find_spec(name, [os.path.join(package, "capi")])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ort = _extension()
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(options, PATH, True, True)
session.initialize_session(["CPUExecutionProvider"], [{}], set())
assert np.__version__


def handler(event, context):
    feed = {"input": matrix(orjson.loads(event["body"])["records"])}
    scores = session.run(["probabilities"], feed, None)[0]
    body = orjson.dumps({"predictions": scores.tolist()}).decode()
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}
