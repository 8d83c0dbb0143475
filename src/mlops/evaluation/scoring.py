"""An ONNX model as a function from the encoded matrix to scores, on one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.errors import MlopsError
from mlops.features.encoding import Matrix
from mlops.manifest import INPUT, PROBABILITIES, VALUE

FloatArray = npt.NDArray[np.float64]

#: Rows scored in one call, which bounds memory.
CHUNK = 16_384


class ModelRefusedError(MlopsError):
    """A ``model.onnx`` that does not load, or does not have the input and the output the manifest promises."""

    code = "model_refused"


class OnnxScorer:
    """One loaded ``model.onnx``.

    Parameters
    ----------
    model : bytes
        the ONNX file.
    width : int
        columns of the encoded matrix.
    classes : int
        number of classes; 0 for a regression.

    Raises
    ------
    ModelRefusedError
        when the file is not a model, or its input or output has another name, type or width.
    """

    def __init__(self, model: bytes, width: int, classes: int) -> None:
        import onnxruntime  # noqa: PLC0415  (only where a model is really scored)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _onnx_errors() as error:
            raise ModelRefusedError(f"model.onnx does not load: {_first_line(error)}") from error
        self._output = PROBABILITIES if classes else VALUE
        self._columns = classes or 1
        self._check(width)

    def _check(self, width: int) -> None:
        inputs = self._session.get_inputs()
        outputs = [o.name for o in self._session.get_outputs()]
        if [i.name for i in inputs] != [INPUT] or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise ModelRefusedError(f"model.onnx must take one float32 input '{INPUT}'; it takes {found}")
        shape = inputs[0].shape
        if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != width):
            raise ModelRefusedError(
                f"model.onnx takes shape {shape}; the contract's features encode to (rows, {width})"
            )
        if self._output not in outputs:
            raise ModelRefusedError(f"model.onnx must give an output '{self._output}'; it gives {', '.join(outputs)}")

    def __call__(self, matrix: Matrix) -> FloatArray:
        """Scores of an encoded matrix: float64 (exact from float32), shape (rows, classes) or (rows, 1).

        Raises
        ------
        ModelRefusedError
            when the model fails on the rows or answers in another shape.
        """
        parts = [self._run(matrix[i : i + CHUNK]) for i in range(0, len(matrix), CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, self._columns))

    def _run(self, matrix: Matrix) -> FloatArray:
        try:
            (scores,) = self._session.run([self._output], {INPUT: np.ascontiguousarray(matrix)})
        except _onnx_errors() as error:
            raise ModelRefusedError(f"model.onnx fails on valid rows: {_first_line(error)}") from error
        if scores.shape != (len(matrix), self._columns):
            raise ModelRefusedError(
                f"model.onnx answers shape {scores.shape} for {len(matrix)} rows; expected (rows, {self._columns})"
            )
        result: FloatArray = scores.astype(np.float64)
        return result


def _onnx_errors() -> tuple[type[Exception], ...]:
    """Every exception of onnxruntime; they share no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    names: list[Any] = [getattr(state, name) for name in dir(state)]
    own = tuple(n for n in names if isinstance(n, type) and issubclass(n, Exception))
    return (*own, ValueError, RuntimeError)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["unknown reason"])[0][:300]
