"""What a release asks of the serving function; ``mlops.aws.serving`` answers with Lambda, tests in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mlops.errors import MlopsError

Routes = Mapping[str, Mapping[str, Any]]

#: The version that is not published: the function's code and configuration as they are now.
LATEST = "$LATEST"


@dataclass(frozen=True)
class Snapshot:
    """What one function version serves.

    Attributes
    ----------
    version : number as text, or ``$LATEST``.
    layer : ARN of its model-set layer, empty when it has none.
    routes : as in ``MLOPS_ROUTES``.
    base : digest of everything else: code, other layers, other environment, memory, timeout and so on. Versions
        with the same base differ in what they serve only.
    revision : changes with every change of ``$LATEST``.
    """

    version: str
    layer: str
    routes: Routes
    base: str
    revision: str = ""

    def serves(self, layer: str, routes: Routes) -> bool:
        return self.layer == layer and dict(self.routes) == dict(routes)


@dataclass(frozen=True)
class Live:
    """What callers get: the version that the alias names. ``revision`` is the alias's, for a conditional move.
    ``others``: versions that get a share of the calls beside it, by weights of the alias; nothing here sets any."""

    snapshot: Snapshot
    revision: str
    others: tuple[str, ...] = ()

    def serves(self, layer: str, routes: Routes) -> bool:
        """Whether every caller gets this."""
        return not self.others and self.snapshot.serves(layer, routes)


class StorageFullError(MlopsError):
    """The account's code storage has no room for another version of the function or of the layer."""

    code = "code_storage_full"


@dataclass(frozen=True)
class Firing:
    """An alarm in state ALARM. ``since``: UTC."""

    name: str
    since: datetime


class Alarms(Protocol):
    """The alarms that speak of what callers get."""

    def firing(self) -> list[Firing]: ...


@dataclass(frozen=True)
class Published:
    """A function version that exists, and the model-set layer that it has (empty: none)."""

    version: str
    layer: str


class Serving(Protocol):
    """The one function that answers predictions."""

    def live(self) -> Live: ...

    def published(self, version: str) -> Snapshot | None:
        """A published version (or ``$LATEST``); None when it does not exist (any more)."""
        ...

    def configure(self, layer: str, routes: Routes) -> None:
        """Give ``$LATEST`` this model-set layer (empty: none) and these routes, and wait until it has them.
        Everything else stays. ConflictError when somebody else is changing it and does not end."""
        ...

    def publish(self, latest: Snapshot, description: str) -> Snapshot:
        """An immutable version of ``latest``; ConflictError when ``$LATEST`` is not that any more."""
        ...

    def invoke(self, version: str, payload: Mapping[str, Any]) -> Any:
        """Call one version by number. MlopsError ``invocation_failed`` when it fails."""
        ...

    def point(self, version: str, revision: str) -> None:
        """Move the alias, all of it; ConflictError when it moved since ``revision``."""
        ...

    def find_layer(self, digest: str) -> str | None:
        """ARN of a layer version made of the model set ``digest``."""
        ...

    def layers(self) -> Mapping[str, str]:
        """Every model-set layer version that exists: ARN to the digest of its model set, oldest first."""
        ...

    def versions(self) -> list[Published]:
        """Every function version that exists, ``$LATEST`` first."""
        ...

    def aliased(self) -> set[str]:
        """Versions that an alias names, the second of a weighted one included."""
        ...

    def delete_version(self, version: str) -> None:
        """Delete a published version that no alias names; nothing happens when it is gone."""
        ...

    def delete_layer(self, arn: str) -> None:
        """Delete a version of the model layer; nothing happens when it is gone. What was published with it stays as it
        is."""
        ...

    def publish_layer(self, digest: str, key: str) -> str:
        """Publish the archive at ``key`` of the artifact bucket; its ARN."""
        ...

    def remembered(self) -> tuple[str, dict[str, Any]]:
        """Layer and routes that the next deployment will use."""
        ...

    def remember(self, layer: str, routes: Routes) -> None: ...


@dataclass
class Switched:
    """What :func:`mlops.release.switching.switch` did.

    ``status``: ``live``, or ``refused`` with ``reasons`` (nothing changed for callers), or ``busy``: a deployment
    is under way, try again.
    """

    status: str
    version: str = ""
    layer: str = ""
    digest: str = ""
    reasons: list[str] = field(default_factory=list)
