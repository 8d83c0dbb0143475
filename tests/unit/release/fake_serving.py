"""The serving function in memory, with Lambda's rules: versions are immutable, the alias moves by revision only."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

from mlops.contract import Contract, Release, Target
from mlops.errors import ConflictError, MlopsError
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.objects import version_prefix
from mlops.registry.entities import ModelVersion
from mlops.release.actions import Releases
from mlops.release.modelset import ModelSet
from mlops.release.ports import LATEST, Firing, Live, Published, Routes, Snapshot
from mlops.release.state import ReleaseState
from tests.fakes import Clock, MemoryCallbacks, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry
from tests.unit.release import machine


class MemoryServing:
    """``broken``: model versions whose golden set fails. ``replay``: answers the replay task."""

    def __init__(self, artifacts: MemoryObjects) -> None:
        self.artifacts = artifacts
        empty = ModelSet()
        self.sets: dict[str, dict[str, Any]] = {"layer:1": empty.document()}
        self.layers_kept: dict[str, str] = {empty.digest: "layer:1"}
        self.latest = Snapshot(LATEST, "layer:1", {}, "code-1", "r1")
        self.kept = {"1": replace(self.latest, version="1")}
        self.numbers = 1
        self.alias, self.alias_revision = "1", 1
        self.weighted: tuple[str, ...] = ()
        self.parameters: tuple[str, dict[str, Any]] = ("layer:1", {})
        self.broken: set[tuple[str, str]] = set()
        self.replay: Callable[[list[Any]], dict[str, Any]] | None = None
        self.invoked: list[tuple[str, Mapping[str, Any]]] = []
        self.moves: list[str] = []

    def live(self) -> Live:
        return Live(self.kept[self.alias], str(self.alias_revision), self.weighted)

    def published(self, version: str) -> Snapshot | None:
        return self.latest if version == LATEST else self.kept.get(version)

    def configure(self, layer: str, routes: Routes) -> None:
        if layer not in self.sets:
            raise AssertionError(f"layer {layer} does not exist")
        plain = json.loads(json.dumps(dict(routes)))
        self.latest = replace(self.latest, layer=layer, routes=plain, revision=f"{self.latest.revision}+")

    def publish(self, latest: Snapshot, description: str) -> Snapshot:
        if latest.revision != self.latest.revision:
            raise ConflictError("changed")
        newest = self.kept.get(str(self.numbers))
        if newest and newest == replace(self.latest, version=newest.version):
            return newest
        self.numbers += 1
        number = str(self.numbers)
        self.kept[number] = replace(self.latest, version=number)
        return self.kept[number]

    def invoke(self, version: str, payload: Mapping[str, Any]) -> Any:
        self.invoked.append((version, payload))
        snapshot = self.kept[version]
        held = self.sets[snapshot.layer]["models"]
        if payload["task"] == "describe":
            return {"status": "ok", "routes": snapshot.routes, "routes_error": ""}
        if payload["task"] == "replay":
            assert self.replay is not None
            return self.replay(payload["records"])
        key = (payload["model"], payload["version"])
        if key[1] not in held.get(key[0], {}).values():
            return {"status": "missing", "message": "the model set does not hold this version"}
        if key in self.broken:
            return {"status": "mismatch", "message": "3 of 9 answers differ"}
        return {"status": "ok"}

    def point(self, version: str, revision: str) -> None:
        if revision != str(self.alias_revision):
            raise ConflictError("the alias moved")
        self.alias, self.alias_revision, self.weighted = version, self.alias_revision + 1, ()
        self.moves.append(version)

    def find_layer(self, digest: str) -> str | None:
        return self.layers_kept.get(digest)

    def layers(self) -> dict[str, str]:
        return {arn: digest for digest, arn in self.layers_kept.items()}

    def versions(self) -> list[Published]:
        return [Published(s.version, s.layer) for s in (self.latest, *self.kept.values())]

    def aliased(self) -> set[str]:
        return {self.alias, *self.weighted}

    def delete_version(self, version: str) -> None:
        assert version != self.alias, "Lambda refuses this"
        self.kept.pop(version, None)

    def delete_layer(self, arn: str) -> None:
        self.layers_kept = {digest: known for digest, known in self.layers_kept.items() if known != arn}

    def publish_layer(self, digest: str, key: str) -> str:
        with zipfile.ZipFile(BytesIO(self.artifacts.get(key))) as archive:
            document = json.loads(archive.read("models/set.json"))
        arn = f"layer:{len(self.sets) + 1}"
        self.sets[arn] = document
        self.layers_kept[digest] = arn
        return arn

    def remembered(self) -> tuple[str, dict[str, Any]]:
        return self.parameters

    def remember(self, layer: str, routes: Routes) -> None:
        self.parameters = (layer, json.loads(json.dumps(dict(routes))))

    # What the world does ------------------------------------------------------------------------

    def deploy(self, code: str) -> None:
        """`sam deploy` of new code: it reads the parameters, as the template does, and moves the alias."""
        layer, routes = self.parameters
        self.latest = Snapshot(LATEST, layer, routes, code, f"{self.latest.revision}+{code}")
        self.numbers += 1
        number = str(self.numbers)
        self.kept[number] = replace(self.latest, version=number)
        self.alias, self.alias_revision = number, self.alias_revision + 1

    def serves(self) -> dict[str, Any]:
        """What callers get: the live model set."""
        models: dict[str, Any] = self.sets[self.kept[self.alias].layer]["models"]
        return models

    def agree(self) -> bool:
        """Alias, ``$LATEST`` and parameters say the same."""
        live = self.kept[self.alias]
        return self.latest.serves(live.layer, live.routes) and self.parameters == (live.layer, dict(live.routes))


class MemoryAlarms:
    """Alarms that a test lets fire."""

    def __init__(self) -> None:
        self.now: list[Firing] = []

    def firing(self) -> list[Firing]:
        return list(self.now)


class World:
    """A stack with one classification model ``iris``, and the release machine's driver."""

    def __init__(self, rules: Release | None = None) -> None:
        self.clock = Clock()
        self.registry = MemoryRegistry(self.clock)
        self.ledger = MemoryLedger(self.clock)
        self.artifacts = MemoryObjects()
        self.data = MemoryObjects()
        self.events = MemoryEvents()
        self.serving = MemoryServing(self.artifacts)
        self.callbacks = MemoryCallbacks()
        self.alarms = MemoryAlarms()
        self.rules = rules or Release(steps=(0.1, 0.5), min_requests=20, min_seconds=60, max_seconds=3600)
        self.add_model("iris")
        self._captured = 0
        self.person: Callable[[], Any] | None = None
        self.visited: set[str] = set()

    @property
    def releases(self) -> Releases:
        return Releases(
            self.registry,
            self.ledger,
            self.serving,
            self.artifacts,
            self.data,
            self.events,
            self.clock,
            self.callbacks,
            self.alarms,
        )

    def add_model(self, name: str, rules: Release | None = None) -> None:
        target = Target("kind", classes=("no", "yes"), positive="yes")
        contract = Contract(name, "classification", target, (Feature("width", "number"),), release=rules or self.rules)
        self.registry.put_contract(contract)

    def add_version(self, version: str, model: str = "iris", state: Any = "candidate") -> None:
        onnx = f"model.onnx of {model}/{version}".encode()
        manifest = Manifest(
            model, version, "classification", (Feature("width", "number"),), "kind", ("no", "yes"), "yes",
            onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        )  # fmt: skip
        prefix = version_prefix(model, version)
        self.artifacts.put(prefix + "manifest.json", json.dumps(manifest.to_dict()).encode())
        for name in ("model.onnx", "baseline.json", "golden.json"):
            self.artifacts.put(prefix + name, f"{name} of {model}/{version}".encode())
        self.registry.put_version(
            ModelVersion(model, version, state, self.clock().isoformat(), f"d-{version}", "c1")
        )  # fmt: skip
        self.clock.forward(seconds=1)

    def start(self, version: str, model: str = "iris", actor: str = "user:ann", release: str = "") -> ReleaseState:
        return ReleaseState(model, version, release or f"{model}-{version}-r", actor, "better")

    def capture(
        self, count: int, *, differ: int = 0, fail: int = 0, model: str = "iris", challenger: list[float] | None = None
    ) -> None:
        """Requests answered by what is live, captured as ``predict`` and the writer do; ``challenger``: its answer."""
        import gzip

        routes = self.serving.kept[self.serving.alias].routes.get(model, {})
        lines = []
        for i in range(count):
            other = [0.1, 0.9] if i < differ else challenger or [0.8, 0.2]
            bad = differ <= i < differ + fail
            line = {
                "kind": "mlops.capture.v1",
                "model": model,
                "time": self.clock().isoformat(),
                "request_id": f"q{self._captured}",
                "step": routes.get("step"),
                "release": routes.get("release"),
                "rows": [
                    {
                        "id": f"q{self._captured}-0",
                        "features": {"width": i},
                        "answered": "champion",
                        "champion": [0.9, 0.1],
                        "challenger": None if bad else other,
                    }
                ],
                "champion": {"version": "a", "us": 40, "error": None},
                "challenger": {"version": "b", "us": 60, "error": "RuntimeError" if bad else None},
            }
            lines.append(json.dumps(line) + "\n")
            self._captured += 1
        day = self.clock().strftime("dt=%Y-%m-%d/hh=%H")
        self.data.put(f"captures/{model}/{day}/{self._captured:06d}.jsonl.gz", gzip.compress("".join(lines).encode()))

    def first_champion(self, version: str = "a", model: str = "iris") -> None:
        self.add_version(version, model)
        assert self.run(self.start(version, model))["status"] == "promoted"

    def first_champion_again(self, version: str, model: str = "iris") -> None:
        """Another champion after the first, with traffic that agrees."""
        self.add_version(version, model)
        assert self.run(self.start(version, model), lambda step: self.capture(30, model=model))["status"] == "promoted"

    def run(self, state: ReleaseState, traffic: Callable[[str], None] | None = None) -> dict[str, Any]:
        """The release machine to its end; ``traffic`` is called with the step's name before each check."""
        return [*self.walk(state, traffic)][-1]

    def walk(
        self,
        state: ReleaseState,
        traffic: Callable[[str], None] | None = None,
        act: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The same, one answer at a time, by statemachines/release.asl.json itself. Time passes in its Waits."""
        from mlops.release.dispatch import run

        act = act or (lambda action, data: run(self.releases, call(action, data)))
        name, answer = machine.start(), json.loads(json.dumps(state.to_dict()))
        while True:
            self.visited.add(name)
            kind = machine.states()[name]["Type"]
            if kind in ("Succeed", "Fail"):
                return
            if kind == "Choice":
                name = machine.chosen(name, answer)
                continue
            if kind == "Wait":
                self.clock.forward(seconds=answer["wait_seconds"])
                if name == "WaitForTraffic" and traffic:
                    traffic(answer["steps"][answer["index"]]["name"])
            elif kind == "Task" and machine.action(name) == "ask":
                yield from self._wait_for_a_person(act, answer)
            elif kind == "Task":
                try:
                    answer = json.loads(json.dumps(act(machine.action(name), answer)))
                except MlopsError as error:
                    answer = {**answer, "error": {"Error": type(error).__name__, "Cause": error.message}}
                    name = machine.caught(name, error)
                    continue
                yield answer
            else:
                assert kind == "Pass", f"the tests do not know states of type {kind}"
            name = machine.states()[name]["Next"]

    def _wait_for_a_person(
        self, act: Callable[[str, dict[str, Any]], dict[str, Any]], state: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Ask, and wait for the token or an hour; ``person`` is what somebody does meanwhile."""
        token = f"token-{state['release_id']}-{state['tries']}"
        self.callbacks.waiting.add(token)
        yield act("ask", {**state, "task_token": token})
        if self.person is not None:
            self.person()
        if token in self.callbacks.waiting:
            self.callbacks.waiting.remove(token)
            self.clock.forward(hours=1)


class Crash(Exception):
    """The process ends here."""


class Crashing:
    """A dependency whose calls end the process before or after call number ``at`` of a shared counter."""

    def __init__(self, inner: Any, counter: dict[str, int], names: set[str]) -> None:
        self._inner, self._counter, self._names = inner, counter, names

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name not in self._names:
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._counter["calls"] += 1
            if self._counter["calls"] == self._counter["before"]:
                self._counter["crashes"] += 1
                raise Crash
            result = value(*args, **kwargs)
            if self._counter["calls"] == self._counter["after"]:
                self._counter["crashes"] += 1
                raise Crash
            return result

        return call


def call(action: str, state: dict[str, Any]) -> dict[str, Any]:
    """The release function's event for one action of the machine."""
    more = {"ask": "task_token", "fail": "error"}.get(action)
    return {"action": action, "state": state, **({more: state[more]} if more else {})}


MUTATIONS = {
    "move", "promote", "acquire", "let_go", "put_record", "append", "configure", "publish", "point",
    "publish_layer", "remember", "invoke", "put", "wake",
}  # fmt: skip

__all__ = ["MUTATIONS", "Crash", "Crashing", "MemoryServing", "MlopsError", "World"]
