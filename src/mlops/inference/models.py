"""Model versions in memory: the model set of a layer, and one ONNX session per version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson

from mlops.inference.engine import open_session
from mlops.inference.errors import ApiError
from mlops.inference.parsing import Parser
from mlops.inference.texts import Texts
from mlops.manifest import INPUT, PROBABILITIES, VALUE, Manifest

if TYPE_CHECKING:
    from mlops.features.encoding import Matrix

#: More versions than this are loaded when they are first asked for.
EAGER_VERSIONS = 16


class LoadError(Exception):
    """A version's files cannot be used. The message is for the log; it names no path."""


class Model:
    """One version: its manifest, its compiled parser and its session.

    ``folder`` holds ``model.onnx``, ``manifest.json``, ``baseline.json``, ``golden.json``; ``columns`` are those of
    the output: classes, or 1.
    """

    __slots__ = (
        "_outputs",
        "_run",
        "columns",
        "explainer",
        "folder",
        "manifest",
        "output",
        "parser",
        "session",
        "texts",
        "version",
    )

    def __init__(self, manifest: Manifest, parser: Parser, folder: str, session: Any, output: str) -> None:
        self.manifest = manifest
        self.version = manifest.version
        self.parser = parser
        self.folder = folder
        self.session = session
        self.columns = len(manifest.classes) if manifest.task == "classification" else 1
        self.output = output
        self._outputs = [output]
        self._run = session.run
        self.texts = Texts(manifest)
        self.explainer: Any = None  # made by `mlops.inference.explain` when it is first asked for

    def run(self, matrix: Matrix, options: Any = None) -> Matrix:
        """Score an encoded matrix (float32, (rows, width)); float32, (rows, classes) or (rows, 1)."""
        scores: Matrix = self._run(self._outputs, {INPUT: matrix}, options)[0]
        return scores


def load_model(folder: str) -> Model:
    """Read the manifest and build the session.

    Raises
    ------
    LoadError
        when a file is missing or damaged, or the graph is not the one that the manifest describes.
    """
    try:
        with open(os.path.join(folder, "manifest.json"), "rb") as stream:
            manifest = Manifest.from_dict(orjson.loads(stream.read()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadError(f"manifest.json cannot be used ({type(error).__name__})") from error
    session = _session(os.path.join(folder, "model.onnx"))
    output = PROBABILITIES if manifest.task == "classification" else VALUE
    inputs = {i.name: i.shape for i in session.inputs_meta}
    outputs = {o.name for o in session.outputs_meta}
    parser = Parser(manifest.features, manifest.key, manifest.target)
    if set(inputs) != {INPUT} or output not in outputs:
        raise LoadError(f"model.onnx must take '{INPUT}' and give '{output}'")
    if inputs[INPUT][1] != parser.width and isinstance(inputs[INPUT][1], int):
        raise LoadError(f"model.onnx takes {inputs[INPUT][1]} columns, the manifest's features give {parser.width}")
    return Model(manifest, parser, folder, session, output)


def _session(path: str) -> Any:
    try:
        return open_session(path)
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        raise LoadError(f"model.onnx cannot be loaded ({type(error).__name__})") from error


class Entry:
    """What the set holds of one model. ``champion`` and ``challenger`` are versions or ``None``."""

    __slots__ = ("challenger", "champion", "name")

    def __init__(self, name: str, champion: str | None, challenger: str | None) -> None:
        self.name = name
        self.champion = champion
        self.challenger = challenger


class ModelSet:
    """The models of one layer, loaded eagerly when they are few and small, else when first asked for.

    Loading at start is right for a Lambda: the initialisation runs with a full core whatever the memory size.
    A version that cannot be loaded does not hurt the others; asking for it says so.
    """

    def __init__(self, models_dir: str) -> None:
        self.models_dir = models_dir
        self.entries: dict[str, Entry] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self.error = "" if models_dir else "there is no model set"
        self._loaded: dict[tuple[str, str], Model] = {}
        if models_dir:
            self._read()

    def _read(self) -> None:
        try:
            with open(os.path.join(self.models_dir, "set.json"), "rb") as stream:
                data = orjson.loads(stream.read())
            for name, item in data["models"].items():
                self.entries[name] = Entry(name, item.get("champion"), item.get("challenger"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.entries.clear()
            self.error = f"set.json cannot be used ({type(error).__name__})"

    def versions(self) -> list[tuple[str, str]]:
        """Every (model, version) of the set."""
        return [(e.name, v) for e in self.entries.values() for v in (e.champion, e.challenger) if v]

    def folder(self, name: str, version: str) -> str:
        return os.path.join(self.models_dir, name, version)

    def warm(self, eager_bytes: int) -> None:
        """Load everything if it is little: at most :data:`EAGER_VERSIONS` versions and ``eager_bytes`` bytes."""
        versions = self.versions()
        if len(versions) > EAGER_VERSIONS:
            return
        size = 0
        for name, version in versions:
            path = os.path.join(self.folder(name, version), "model.onnx")
            size += os.path.getsize(path) if os.path.isfile(path) else 0
        if size <= eager_bytes:
            for name, version in versions:
                self.try_load(name, version)

    def try_load(self, name: str, version: str | None) -> Model | None:
        """The version, or ``None`` when its files cannot be used; :attr:`failed` says why."""
        if version is None:
            return None
        key = (name, version)
        model = self._loaded.get(key)
        if model is None and key not in self.failed:
            try:
                model = self._loaded[key] = load_model(self.folder(name, version))
            except LoadError as error:
                self.failed[key] = str(error)
        return model

    def entry(self, name: str) -> Entry:
        """What is deployed under ``name``.

        Raises
        ------
        ApiError
            ``unknown_model``.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise ApiError("unknown_model", f"no model '{name[:80]}' is deployed here")
        return entry

    def champion(self, name: str) -> Model:
        """The champion, ready to score.

        Raises
        ------
        ApiError
            ``unknown_model``, ``no_champion`` or ``model_unavailable``.
        """
        entry = self.entry(name)
        if entry.champion is None:
            raise ApiError("no_champion", f"the model '{name}' has no released version yet; upload data to train one")
        model = self.try_load(name, entry.champion)
        if model is None:
            raise ApiError("model_unavailable", f"version {entry.champion} of the model '{name}' could not be loaded")
        return model
