"""Quality of live predictions: realised once labels have come, estimated before they do, by slice and at its worst.

See docs/quality.md. numpy and onnxruntime only.
"""
