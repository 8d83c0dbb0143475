"""What people call versions: aliases and tags; and which version a word means.

An **alias** is a name for one version of a model that a person moves: ``blessed``, ``eu-production``. It may stand
wherever a version may. A version that has one is never retired. A **tag** is a key with a value, of a model or of a
version, to be searched for (:mod:`mlops.registry.search`).

Every change is in the ledger with the person and the reason. What is stored tells of the last change, and its entry is
written after it; whoever changes the same thing next writes the entry first where a crash came between, and so does
the daily housekeeping (:meth:`Naming.settle`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.registry.entities import TRANSITIONS, Alias, LedgerDraft, Tagging
from mlops.registry.ports import Ledger, Registry

#: Words that mean a version by what it does; no alias may be one of them.
ROLES = ("champion", "challenger", "previous")

#: As AWS has it for tags of resources.
MAX_TAGS, MAX_KEY, MAX_VALUE = 50, 128, 256
_TAG = re.compile(r"[\w .:/=+\-@]*")
_RESERVED = ("aws:", "mlops:")

_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,62}")
#: What a version looks like: an alias of that form could be taken for one.
_VERSION = re.compile(r"[0-9a-f]{12}")

#: Fewest characters of a version that may stand for the whole of it.
SHORTEST = 4

MAX_REASON = 1900


@dataclass(frozen=True)
class Naming:
    """Changes aliases and tags. ``clock`` gives UTC."""

    registry: Registry
    ledger: Ledger
    clock: Callable[[], datetime]

    def point(self, model: str, name: str, version: str, *, actor: str, reason: str) -> Alias:
        """Let an alias mean ``version`` from now on. Doing it again changes nothing.

        Raises
        ------
        MlopsError
            ``invalid_alias`` for what cannot be one, ``reason_required`` without a reason. NotFoundError for a version
            that is not registered; ConflictError for a retired one, and when somebody else was faster.
        """
        _with_reason(reason)
        _check_alias(name)
        found = self.registry.version(model, version)
        if found is None:
            raise NotFoundError(f"no version {version} of '{model}'")
        if found.state == "retired":
            raise ConflictError(
                f"{model}/{version} is retired: it cannot be released any more, so no alias may name it"
            )
        before = self._settled(model, name)
        if before is not None and before.version == version:
            return before
        return self._rename(model, name, version, before, actor, reason)

    def remove(self, model: str, name: str, *, actor: str, reason: str) -> Alias:
        """Take an alias away. NotFoundError when it names nothing."""
        _with_reason(reason)
        before = self._settled(model, name)
        if before is None or before.version is None:
            raise NotFoundError(f"'{model}' has no alias '{name}'")
        return self._rename(model, name, None, before, actor, reason)

    def tag(
        self,
        model: str,
        version: str | None,
        given: Mapping[str, str],
        removed: Sequence[str] = (),
        *,
        actor: str,
        reason: str,
    ) -> Tagging:
        """Set and remove tags of a version, or of the model (None). What is so already is no change.

        Raises
        ------
        MlopsError
            ``invalid_tag`` for what cannot be one, or too many; ``reason_required``. NotFoundError for what is not
            registered, or a key to remove that is not there; ConflictError when somebody else was faster.
        """
        _with_reason(reason)
        for key, value in given.items():
            _check_tag(key, value)
        before = self.registry.tagging(model, version)
        if before is not None:
            self._note_tags(before)
        self._must_exist(model, version)
        tags = dict(before.tags) if before else {}
        missing = sorted(set(removed) - set(tags))
        if missing:
            raise NotFoundError(f"{_of(model, version)} has no tag '{missing[0]}'")
        changed = {key: value for key, value in given.items() if tags.get(key) != value}
        if before is not None and not changed and not removed:
            return before
        left = {key: value for key, value in {**tags, **changed}.items() if key not in removed}
        if len(left) > MAX_TAGS:
            raise MlopsError(
                f"{_of(model, version)} would have {len(left)} tags; {MAX_TAGS} at most", code="invalid_tag"
            )
        new = Tagging(
            model, version, left, changed, tuple(sorted(removed)), actor, reason[:MAX_REASON], self.clock().isoformat()
        )
        self.registry.put_tags(new, before)
        self._note_tags(new)
        return new

    def settle(self, model: str) -> None:
        """Write the ledger's entries of changes after which a process broke off."""
        for alias in self.registry.aliases(model):
            self._note_alias(alias)
        for version in (None, *(v.version for v in self.registry.versions(model) if v.tags)):
            tagging = self.registry.tagging(model, version)
            if tagging is not None:
                self._note_tags(tagging)

    def _must_exist(self, model: str, version: str | None) -> None:
        if self.registry.contract(model) is None:
            raise NotFoundError(f"no model '{model}'")
        if version is not None and self.registry.version(model, version) is None:
            raise NotFoundError(f"no version {version} of '{model}'")

    def _settled(self, model: str, name: str) -> Alias | None:
        found = self.registry.alias(model, name)
        if found is not None:
            self._note_alias(found)
        return found

    def _rename(
        self, model: str, name: str, version: str | None, before: Alias | None, actor: str, reason: str
    ) -> Alias:
        previous = before.version if before else None
        new = Alias(model, name, version, previous, actor, reason[:MAX_REASON], self.clock().isoformat())
        self.registry.put_alias(new, before)
        self._note_alias(new)
        return new

    def _note_alias(self, alias: Alias) -> None:
        action, outcome = ("alias.set", "set") if alias.version else ("alias.removed", "removed")
        inputs = {"alias": alias.name, "version": alias.version, "previous": alias.previous}
        subject = f"model/{alias.model}/{alias.version or alias.previous}"
        known_as = f"alias/{alias.model}/{alias.name}/{alias.time}"
        self.ledger.append(LedgerDraft(alias.actor, action, subject, alias.reason, outcome, inputs, known_as))

    def _note_tags(self, tagging: Tagging) -> None:
        subject = f"model/{_of(tagging.model, tagging.version)}"
        action = "version.tagged" if tagging.version else "model.tagged"
        inputs = {"given": dict(tagging.given), "removed": list(tagging.removed)}
        known_as = f"tags/{_of(tagging.model, tagging.version)}/{tagging.time}"
        self.ledger.append(LedgerDraft(tagging.actor, action, subject, tagging.reason, "tagged", inputs, known_as))


def resolve(registry: Registry, model: str, word: str) -> str:
    """The version that ``word`` means: a version; ``champion``, ``challenger`` or ``previous`` (the champion before the
    present one); an alias; or the beginning of exactly one version, four characters at least.

    Raises
    ------
    NotFoundError
        when it means none.
    MlopsError
        ``ambiguous`` for the beginning of several versions.
    """
    if word in ROLES:
        champion = registry.in_state(model, "champion")
        if word == "previous":
            before = predecessor(registry, model, champion.version if champion else None)
        else:
            found = champion if word == "champion" else registry.in_state(model, "challenger")
            before = found.version if found else None
        if before is None:
            raise NotFoundError(f"'{model}' has no {word if word != 'previous' else 'earlier champion'}")
        return before
    if registry.version(model, word) is not None:
        return word
    alias = registry.alias(model, word)
    if alias is not None and alias.version is not None:
        return alias.version
    begun = [v.version for v in registry.versions(model) if v.version.startswith(word)] if len(word) >= SHORTEST else []
    if len(begun) > 1:
        raise MlopsError(
            f"{len(begun)} versions of '{model}' begin with {word}: {', '.join(begun[:5])}", code="ambiguous"
        )
    if not begun:
        raise NotFoundError(f"no version or alias '{word}' of '{model}'; `mlops models list {model}` lists all")
    return begun[0]


def predecessor(registry: Registry, model: str, champion: str | None) -> str | None:
    """The version that served before ``champion`` did, by the newest record of ``champion`` beginning to serve."""
    for record in registry.records(model, "serving"):
        if record.body.get("champion") == champion:
            previous = record.body.get("previous")
            return str(previous) if previous else None
    return None


def _check_alias(name: str) -> None:
    if name in ROLES or name in TRANSITIONS:
        raise MlopsError(
            f"'{name}' cannot be an alias: it is what the registry calls a version itself", code="invalid_alias"
        )
    if not _ALIAS.fullmatch(name) or _VERSION.fullmatch(name):
        raise MlopsError(
            f"'{name[:80]}' cannot be an alias: it takes small letters, digits, '.', '_' and '-', begins with a "
            "letter, has 63 characters at most and must not look like a version",
            code="invalid_alias",
        )


def _check_tag(key: str, value: str) -> None:
    if not key.strip() or len(key) > MAX_KEY or not _TAG.fullmatch(key) or key.startswith(_RESERVED):
        raise MlopsError(
            f"'{key[:80]}' cannot be a tag's key: letters, digits, blanks and _ . : / = + - @, {MAX_KEY} at most, and "
            f"not {' or '.join(_RESERVED)} in front",
            code="invalid_tag",
        )
    if len(value) > MAX_VALUE or not _TAG.fullmatch(value):
        raise MlopsError(
            f"the tag '{key}' cannot have the value '{value[:80]}': letters, digits, blanks and _ . : / = + - @, "
            f"{MAX_VALUE} at most",
            code="invalid_tag",
        )


def _with_reason(reason: str) -> None:
    if not reason.strip():
        raise MlopsError("a change needs a reason: --reason 'why'", code="reason_required")


def _of(model: str, version: str | None) -> str:
    return f"{model}/{version}" if version else model
