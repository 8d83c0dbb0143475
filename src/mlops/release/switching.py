"""The one way to change what serves: from a wanted model set and routes to the alias that names them.

The alias is the only pointer that callers follow. Beside it two things hold what serves: ``$LATEST``, which the next
deployment publishes, and the remembered parameters, which the next deployment's template reads. The three agree
whenever no release is between two calls; everything here can be repeated after a crash at any point and ends in the
same state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops.errors import ConflictError
from mlops.objects import ObjectStore
from mlops.release import modelset
from mlops.release.modelset import ModelSet
from mlops.release.ports import LATEST, Routes, Serving, Snapshot, Switched

#: Given a version's number, why it must not serve; empty when it may.
Preflight = Callable[[str], list[str]]

_ATTEMPTS = 6


@dataclass(frozen=True)
class Switcher:
    """Changes what serves. ``sleep`` takes seconds."""

    serving: Serving
    artifacts: ObjectStore
    sleep: Callable[[float], None] = time.sleep

    def forward(self, wanted: ModelSet, routes: Routes, description: str, preflight: Preflight) -> Switched:
        """Publish a version that serves ``wanted`` by ``routes``, check it by its number, and point the alias there.

        The parameters are written before the alias moves: a deployment that comes between reads the new ones and
        our move then conflicts, finds what it wanted live, and is done.
        """
        layer = self._layer(wanted)
        for attempt in range(_ATTEMPTS):
            live = self.serving.live()
            if live.serves(layer, routes):
                self.settle()
                return Switched("live", live.snapshot.version, layer, wanted.digest)
            latest = self._latest()
            if latest.base != live.snapshot.base:
                return Switched("busy", reasons=["the function's code is being deployed"])
            try:
                published = self._publish(layer, routes, description)
                reasons = preflight(published.version)
                if reasons:
                    self.settle()
                    return Switched("refused", published.version, layer, wanted.digest, reasons)
                self.serving.remember(layer, routes)
                self.serving.point(published.version, live.revision)
            except ConflictError:
                self.sleep(2**attempt / 4)
                continue
            return Switched("live", published.version, layer, wanted.digest)
        return Switched("busy", reasons=["something else keeps changing the function"])

    def back(self, wanted: ModelSet, routes: Routes, description: str, prefer: str | None = None) -> Switched:
        """Restore what served before: at once, then tidy up.

        ``prefer`` is the version that served before. When it still serves what is wanted, with the code that is
        live now, the whole of it is one move of the alias: nothing is published, built or read, and callers get the
        exact answers of before. Otherwise (a deployment or another model's release came between) a version is
        published like any other; no preflight, since every version in ``wanted`` has served already.
        """
        layer = self.serving.find_layer(wanted.digest)
        for attempt in range(_ATTEMPTS):
            live = self.serving.live()
            if layer is not None and live.serves(layer, routes):
                self.settle()
                return Switched("live", live.snapshot.version, layer, wanted.digest)
            try:
                target = self._restorable(prefer, layer, routes, live.snapshot)
                if target is None:
                    layer = layer or self._layer(wanted)
                    target = self._publish(layer, routes, description)
                self.serving.point(target.version, live.revision)
            except ConflictError:
                self.sleep(2**attempt / 4)
                continue
            self.settle()
            return Switched("live", target.version, target.layer, wanted.digest)
        raise ConflictError("something else keeps changing the function; nothing was restored, try again")

    def settle(self) -> None:
        """Make the parameters and ``$LATEST`` agree with what is live."""
        for attempt in range(_ATTEMPTS):
            snapshot = self.serving.live().snapshot
            if self.serving.remembered() != (snapshot.layer, dict(snapshot.routes)):
                self.serving.remember(snapshot.layer, snapshot.routes)
            if self._latest().serves(snapshot.layer, snapshot.routes):
                return
            try:
                self.serving.configure(snapshot.layer, snapshot.routes)
            except ConflictError:
                self.sleep(2**attempt / 4)
        raise ConflictError("something else keeps changing the function; what is live stays live")

    def _restorable(self, prefer: str | None, layer: str | None, routes: Routes, live: Snapshot) -> Snapshot | None:
        before = self.serving.published(prefer) if prefer else None
        if before is None or layer is None or before.base != live.base or not before.serves(layer, routes):
            return None
        return before

    def _layer(self, wanted: ModelSet) -> str:
        known = self.serving.find_layer(wanted.digest)
        if known is not None:
            return known
        return self.serving.publish_layer(wanted.digest, modelset.archive(wanted, self.artifacts))

    def _publish(self, layer: str, routes: Routes, description: str) -> Snapshot:
        if not self._latest().serves(layer, routes):
            self.serving.configure(layer, routes)
        latest = self._latest()
        if not latest.serves(layer, routes):
            raise ConflictError("the function's configuration was changed meanwhile")
        return self.serving.publish(latest, description)

    def _latest(self) -> Snapshot:
        latest = self.serving.published(LATEST)
        if latest is None:
            raise ConflictError("the serving function does not exist")
        return latest


def route(model: str, share: float, step: str, release: str) -> dict[str, Mapping[str, Any]]:
    """The routes while ``model`` is under release (docs/architecture.md)."""
    return {model: {"share": share, "step": step, "release": release}}
