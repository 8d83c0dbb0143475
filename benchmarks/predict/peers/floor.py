"""The floor: numpy, `import onnxruntime`, a session; orjson in, `session.run`, orjson out. It checks nothing."""

import numpy as np  # noqa: F401
import orjson
from onnx_model import matrix, session

_run = session().run


def handler(event, context):
    scores = _run(["probabilities"], {"input": matrix(orjson.loads(event["body"])["records"])})[0]
    body = orjson.dumps({"predictions": scores.tolist()}).decode()
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}
