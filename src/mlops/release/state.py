"""What a release remembers between two actions: plain JSON that the state machine carries.

Step Functions stores it with the transition itself. So an action that is run again, after a crash or a lost answer,
starts from the same state as the first time; there is no second store that could disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from mlops.release.evidence import Evidence
from mlops.release.losses import Paired
from mlops.release.plan import Step

#: The lock that one release of the stack holds, under this name instead of a model's: the model set is one.
STACK = "*"
LOCK = "release"


@dataclass(frozen=True)
class ReleaseState:
    """One release under way.

    Attributes
    ----------
    release_id : name of the state machine's execution.
    champion : version that was champion when the release began.
    previous : function version that was live then; a rollback points there.
    steps, index : the plan, and which step is live or about to be.
    step_started : ISO 8601 UTC.
    evidence, pending : of the step, see :mod:`mlops.release.verdict`.
    rules : what the last check found by each rule.
    realised, labels : losses by labels that came since the release began, and a digest of their files, see
        :mod:`mlops.release.labelled`.
    cursor : how far captures were read, see :mod:`mlops.release.traffic`.
    history : one line of figures per finished step.
    replayed : whether recent records were replayed, since traffic was too thin.
    outcome : ``rejected`` when the version itself is at fault, ``archived`` when it may be released another time.
    tries : how often in a row the present action had to wait for somebody else.
    approval : whether a gate asks for a person's decision, whoever started the release.
    approved_by : the person who decided.
    """

    model: str
    version: str
    release_id: str
    actor: str
    reason: str
    started_at: str = ""
    champion: str | None = None
    previous: str = ""
    steps: tuple[Step, ...] = ()
    index: int = 0
    function_version: str = ""
    step_started: str = ""
    evidence: Evidence = field(default_factory=Evidence)
    pending: tuple[str, ...] | None = None
    rules: tuple[Mapping[str, Any], ...] = ()
    realised: Paired = field(default_factory=Paired)
    labels: str = ""
    cursor: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    reasons: tuple[str, ...] = ()
    replayed: bool = False
    outcome: str = ""
    tries: int = 0
    approval: bool = False
    approved_by: str = ""

    @property
    def step(self) -> Step:
        return self.steps[self.index]

    @property
    def subject(self) -> str:
        return f"model/{self.model}/{self.version}"

    def with_(self, **changes: Any) -> ReleaseState:
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        result = {f.name: getattr(self, f.name) for f in fields(self)}
        result["steps"] = [step.to_dict() for step in self.steps]
        result["evidence"] = self.evidence.to_dict()
        result["realised"] = asdict(self.realised)
        for name in ("history", "reasons", "pending", "rules"):
            if result[name] is not None:
                result[name] = list(result[name])
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ReleaseState:
        """From an action's answer, or from the machine's input (``model``, ``version``, ``release_id``, ``actor``,
        ``reason``); other fields are ignored."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        values["steps"] = tuple(Step(**step) for step in values.get("steps", ()))
        values["evidence"] = Evidence.from_dict(values.get("evidence", {}))
        values["realised"] = Paired(**values.get("realised", {}))
        for name in ("history", "reasons", "rules"):
            values[name] = tuple(values.get(name, ()))
        if values.get("pending") is not None:
            values["pending"] = tuple(values["pending"])
        return cls(**values)
