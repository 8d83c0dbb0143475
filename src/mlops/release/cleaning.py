"""Old versions of the serving function, and of the model layer, are deleted: an account's code storage has an end
(75 GB unless it was raised), and every release makes one of each.

What a rollback may point to is kept, so it stays one move of the alias; an older version is made again from its
artifacts when somebody goes back to it by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlops.objects import LAYERS, ObjectStore, layer_key
from mlops.registry.ports import Registry
from mlops.release.ports import LATEST, Published, Serving

#: Newest function versions that are kept whatever they serve, for whoever looks at what was.
KEEP_NEWEST = 5

#: Records of serving by model whose function versions are kept: the champion's, and the predecessor's.
KEEP_RECORDS = 2


@dataclass(frozen=True)
class Cleaning:
    """Numbers of function versions, ARNs of layers, and keys of layers' archives to delete; ``kept`` says why other
    versions stay."""

    functions: tuple[str, ...]
    layers: tuple[str, ...]
    kept: Mapping[str, str]
    archives: tuple[str, ...] = ()


def plan(
    published: Sequence[Published],
    aliased: Iterable[str],
    deployed: Iterable[str],
    recorded: Iterable[Mapping[str, Any]],
    layers: Mapping[str, str],
    remembered: str,
) -> Cleaning:
    """What can go.

    Parameters
    ----------
    published : every function version, ``$LATEST`` included.
    aliased : versions that an alias names. deployed : the stack's own, to which a failed deployment goes back.
    recorded : bodies of the records of serving that count, see :data:`KEEP_RECORDS`.
    layers : ARN to digest. remembered : the layer of the next deployment.
    """
    kept: dict[str, str] = {LATEST: "what the next version is made of"}
    for version in deployed:
        kept[version] = "a deployment that fails goes back to it"
    for body in recorded:
        for name in ("function_version", "previous_function_version"):
            if body.get(name):
                kept[str(body[name])] = "a rollback goes to it"
    for version in aliased:
        kept[version] = "an alias names it"
    numbered = sorted((p.version for p in published if p.version != LATEST), key=int, reverse=True)
    for version in numbered[:KEEP_NEWEST]:
        kept.setdefault(version, f"one of the newest {KEEP_NEWEST}")
    going = tuple(version for version in reversed(numbered) if version not in kept)
    used = {p.layer for p in published if p.version not in going} | {remembered}
    return Cleaning(going, tuple(arn for arn in layers if arn not in used), kept)


def look(registry: Registry, serving: Serving, artifacts: ObjectStore, deployed: Iterable[str]) -> Cleaning:
    """The plan for a stack as it is now. An archive goes with its layer: it is made again from the versions' files."""
    recorded = [r.body for m in registry.models() for r in registry.records(m, "serving", KEEP_RECORDS)]
    layers = serving.layers()
    found = plan(serving.versions(), serving.aliased(), deployed, recorded, layers, serving.remembered()[0])
    stay = {layer_key(digest) for arn, digest in layers.items() if arn not in found.layers}
    return replace(found, archives=tuple(i.key for i in artifacts.list(LAYERS) if i.key not in stay))


def carry_out(serving: Serving, artifacts: ObjectStore, cleaning: Cleaning) -> None:
    """Delete function versions first: a layer that is used by none is then free."""
    for version in cleaning.functions:
        serving.delete_version(version)
    for arn in cleaning.layers:
        serving.delete_layer(arn)
    for key in cleaning.archives:
        artifacts.delete(key)
