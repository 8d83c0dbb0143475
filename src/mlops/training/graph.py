"""The ONNX graph under construction, and the rounding that keeps every row on its side of a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper

from mlops.errors import MlopsError


class ExportError(MlopsError):
    """A model that cannot be written as ONNX without changing its answers."""

    code = "not_exportable"


def floor32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The largest float32 that is not above each float64 (infinities stay).

    >>> float(floor32(0.1)), float(floor32(0.5))
    (0.09999999403953552, 0.5)
    """
    exact = np.asarray(values, dtype=np.float64)
    # Below the least finite float32 the answer is minus infinity, which is no mistake here.
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
        above = rounded.astype(np.float64) > exact
        result: npt.NDArray[np.float32] = np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return result


@dataclass
class Graph:
    """Nodes and constants in the order in which they were added."""

    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        output = output or f"t{len(self.nodes)}"
        domain = "ai.onnx.ml" if operator.startswith("Tree") else ""
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, values: npt.ArrayLike, dtype: Any) -> str:
        """Add a constant; returns its name."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name
