"""The model set: what one model layer holds, as a document, a digest and a zip archive.

The archive is addressed by the digest of the document alone. That is enough because a version's artifacts never
change once it is registered, and it makes a rollback cheap: the layer of an earlier set is found by its digest,
nothing is read or built.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlops.errors import MlopsError, NotFoundError
from mlops.objects import ObjectStore, layer_key, version_prefix
from mlops.registry.chain import canonical
from mlops.registry.ports import Registry

SCHEMA = "mlops.model-set.v1"

#: What serving reads of one version.
FILES = ("model.onnx", "manifest.json", "baseline.json", "golden.json")

#: The first moment that a zip archive can hold; a fixed one makes equal sets equal bytes.
_MOMENT = (1980, 1, 1, 0, 0, 0)


class ArtifactError(MlopsError):
    """A version's files cannot be packed: ``artifact_missing``, ``artifact_damaged``, or ``model_set_too_large``."""


#: Bytes of models that leave room for the inference layer and the code below Lambda's 250 MB (unzipped).
MAX_BYTES = 110_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """The versions of one model in a set."""

    champion: str | None = None
    challenger: str | None = None


@dataclass(frozen=True)
class ModelSet:
    """Which versions a layer holds, by model."""

    models: Mapping[str, Pair] = field(default_factory=dict)

    @classmethod
    def of_champions(cls, registry: Registry) -> ModelSet:
        """What serves at rest: every model's champion; models without one are listed with none, so that
        ``predict`` can tell *no champion yet* from *unknown model*."""
        models = {}
        for name in registry.models():
            champion = registry.in_state(name, "champion")
            models[name] = Pair(champion.version if champion else None)
        return cls(models)

    def with_pair(self, model: str, pair: Pair) -> ModelSet:
        return replace(self, models={**self.models, model: pair})

    def document(self) -> dict[str, Any]:
        """``set.json``."""
        models = {
            name: {"champion": pair.champion, "challenger": pair.challenger}
            for name, pair in sorted(self.models.items())
        }
        return {"schema": SCHEMA, "models": models}

    @property
    def digest(self) -> str:
        """SHA-256 (64 hexadecimal digits) of the canonical document."""
        return hashlib.sha256(canonical(self.document())).hexdigest()

    def versions(self) -> list[tuple[str, str]]:
        """Every (model, version), sorted, each once."""
        found = {(name, v) for name, pair in self.models.items() for v in (pair.champion, pair.challenger) if v}
        return sorted(found)


def oversize(models: ModelSet, artifacts: ObjectStore) -> str | None:
    """Why the models are too large for a layer together, with the size of each; None when they fit.

    By a listing: nothing is read, so a release can ask before it begins.
    """
    sizes = {}
    for model, version in models.versions():
        prefix = version_prefix(model, version)
        wanted = {prefix + name for name in FILES}
        sizes[f"{model}/{version}"] = sum(i.size for i in artifacts.list(prefix) if i.key in wanted)
    total = sum(sizes.values())
    if total <= MAX_BYTES:
        return None
    each = ", ".join(f"{name} {_mb(size)}" for name, size in sorted(sizes.items(), key=lambda item: -item[1]))
    return (
        f"the models that would be served take {_mb(total)} together, a layer has room for {_mb(MAX_BYTES)}: {each}; "
        "train a smaller model (fewer trees, another family), or serve one of them from another stack"
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def build(models: ModelSet, artifacts: ObjectStore) -> bytes:
    """The layer's archive; equal sets give equal bytes.

    Raises
    ------
    ArtifactError
        ``artifact_missing`` when a version lacks a file, ``artifact_damaged`` when its model is not the one that its
        manifest names, ``model_set_too_large`` when the models pass :data:`MAX_BYTES` together.
    """
    too_large = oversize(models, artifacts)
    if too_large:
        raise ArtifactError(too_large, code="model_set_too_large")
    files = {"models/set.json": canonical(models.document())}
    for model, version in models.versions():
        found: dict[str, bytes] = {}
        for name in FILES:
            try:
                found[name] = artifacts.get(version_prefix(model, version) + name)
            except NotFoundError as error:
                message = f"{model}/{version} has no {name}; train or import the version again"
                raise ArtifactError(message, code="artifact_missing") from error
        wrong = damage(found["manifest.json"], found["model.onnx"])
        if wrong:
            message = (
                f"{model}/{version} {wrong}, so it is not put into a layer; restore the object's earlier version, or "
                "train or import the version again"
            )
            raise ArtifactError(message, code="artifact_damaged")
        files |= {f"models/{model}/{version}/{name}": body for name, body in found.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, also when built elsewhere
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def damage(manifest: bytes, onnx: bytes) -> str:
    """What is wrong with a version's model; empty when it is the one that its manifest names."""
    try:
        wanted = json.loads(manifest).get("onnx_sha256")
    except (ValueError, AttributeError):
        return "has a manifest that cannot be read"
    if not wanted:
        return "has a manifest that names no digest of model.onnx"
    return "" if hashlib.sha256(onnx).hexdigest() == wanted else "has another model.onnx than its manifest names"


def archive(models: ModelSet, artifacts: ObjectStore) -> str:
    """The key of the set's archive in the artifact bucket; built and stored if it is not there yet."""
    key = layer_key(models.digest)
    if not artifacts.exists(key):
        artifacts.put(key, build(models, artifacts), content_type="application/zip", if_absent=True)
    return key
