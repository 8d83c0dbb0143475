"""The request path: from an API Gateway event to an answer, in microseconds.

Nothing here imports more than the standard library's small modules, numpy, onnxruntime and orjson; what one
request in a thousand needs (the v2 protocol, OpenAPI, tasks) is imported when it is asked for.
"""
