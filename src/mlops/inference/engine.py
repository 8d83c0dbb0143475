"""onnxruntime without the package around it: its extension module alone.

``import onnxruntime`` adds Python code for training, binding and checking to the extension that does the work. A
session needs none of it, and a call of the extension's own session saves a microsecond. The module is registered
under its own name, so that a later ``import onnxruntime`` in the same process (tests, tools) finds this one. The
lock file pins the version; a test compares answers with those of the public ``onnxruntime.InferenceSession``.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

from mlops.manifest import INPUT

_NAME = "onnxruntime.capi.onnxruntime_pybind11_state"


@functools.cache
def extension() -> Any:
    """The extension module.

    Raises
    ------
    ImportError
        when onnxruntime is not installed.
    """
    loaded = sys.modules.get(_NAME)
    if loaded is not None:
        return loaded
    package = PathFinder.find_spec("onnxruntime")
    folders = list(package.submodule_search_locations or ()) if package is not None else []
    spec = PathFinder.find_spec(_NAME, [os.path.join(folder, "capi") for folder in folders])
    if spec is None or spec.loader is None:
        raise ImportError("onnxruntime is not installed")
    module = module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_NAME]
        raise
    return module


def open_session(path: str) -> Any:
    """A session on the processor, ready to run.

    One thread and no spinning: a Lambda of the default size has less than one core, and a tabular model costs less
    than waking a second thread.
    """
    engine = extension()
    options = engine.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = engine.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # fatal only: its messages can hold paths
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = engine.InferenceSession(options, path, True, True)  # from a path; options may come from the model
    session.initialize_session(["CPUExecutionProvider"], [{}], set())
    return session


def bind(session: Any, inputs: Any, outputs: Any, output: str) -> Callable[[], None]:
    """A run of a session from one array into another, both float32; it makes no array, copies none, looks up no name.

    Both must stay where they are as long as the function is used; it keeps them.
    """
    engine = extension()
    device = engine.OrtDevice(engine.OrtDevice.cpu(), engine.OrtDevice.default_memory(), 0)
    binding = engine.SessionIOBinding(session)
    binding.bind_ortvalue_input(INPUT, engine.OrtValue.ortvalue_from_numpy(inputs, device))
    binding.bind_ortvalue_output(output, engine.OrtValue.ortvalue_from_numpy(outputs, device))
    return functools.partial(session.run_with_iobinding, binding, None)


def run_options() -> Any:
    """Options of one run that its owner may end (``terminate = True``)."""
    options = extension().RunOptions()
    options.log_severity_level = 4
    return options
