"""A changed contract written into the text it came from, so that a person's comments and layout stay.

Where two contracts differ is found in their JSON forms and changed at the places that YAML's own parser reports for
them; everything between is left as it is. The outcome is read back: what does not say exactly the new contract is not
used.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from mlops.contract.model import Contract
from mlops.contract.source import InvalidContractError, load_text
from mlops.contract.writing import scalar

#: Start, end and new text of a piece.
_Edit = tuple[int, int, str]


def patched(text: str, before: Contract, after: Contract) -> str | None:
    """The text of ``before``, saying ``after``; None where that needs more than changing it in places."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return None
    try:
        edits = sorted(_Patch(text).differences(root, before.to_dict(), after.to_dict()))
    except _LostError:
        return None
    pieces, position = [], 0
    for start, end, new in edits:
        if start < position:  # two changes of one place, as with an alias
            return None
        pieces += [text[position:start], new]
        position = end
    found = "".join([*pieces, text[position:]])
    try:
        return found if load_text(found) == after else None
    except InvalidContractError:
        return None


class _LostError(Exception):
    """The text does not have what the contract has; it is not the contract's."""


class _Patch:
    """Changes of one text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def differences(self, node: yaml.Node, old: Any, new: Any) -> Iterator[_Edit]:
        """What to change where ``node``, which says ``old``, is to say ``new``."""
        if old == new:
            return
        if isinstance(node, yaml.MappingNode) and isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from self._mapping(node, old, new)
        elif isinstance(node, yaml.SequenceNode) and isinstance(old, Sequence) and isinstance(new, Sequence):
            yield from self._sequence(node, old, new)
        else:
            written = scalar(new)
            start, end = node.start_mark.index, _end(node)
            # An empty value has no place of its own.
            yield start, end, written if end > start else f" {written}"

    def _mapping(self, node: yaml.MappingNode, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[_Edit]:
        entries = {key.value: (key, value) for key, value in node.value}
        gone = {n for n in entries if n in old and new.get(n) is None and old[n] is not None}
        places = [(key.start_mark.index, _end(value)) for key, value in node.value]
        yield from self._without(node, places, [n in gone for n in entries])
        for name in [n for n in old if n in entries and n not in gone]:
            yield from self.differences(entries[name][1], old[name], new[name])
        added = [f"{name}: {scalar(new[name])}" for name in new if name not in entries and new[name] != old.get(name)]
        if added:
            column = node.value[0][0].start_mark.column if node.value else 0
            kept = [value for name, (_, value) in entries.items() if name not in gone]
            yield self._with(node, column, added, kept[-1] if kept else None)

    def _sequence(self, node: yaml.SequenceNode, old: Sequence[Any], new: Sequence[Any]) -> Iterator[_Edit]:
        items = node.value
        if len(items) != len(old):
            raise _LostError
        names = [[i.get("name", "") if isinstance(i, Mapping) else json.dumps(i) for i in side] for side in (old, new)]
        added: dict[int, list[str]] = {}  # after which item
        gone = [False] * len(items)
        for what, a, b, c, d in difflib.SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
            if what == "equal" or b - a == d - c:
                for i, j in zip(range(a, b), range(c, d), strict=True):
                    yield from self.differences(items[i], old[i], new[j])
            else:
                gone[a:b] = [True] * (b - a)
                last = a
                for item in new[c:d]:
                    twin = next((i for i in range(last, b) if _alike(old[i], item)), None)
                    if twin is None:
                        added.setdefault(last - 1, []).append(scalar(item))
                        continue
                    last, gone[twin] = twin + 1, False
                    yield from self.differences(items[twin], old[twin], item)
        yield from self._without(node, [(item.start_mark.index, _end(item)) for item in items], gone)
        for last, entries in added.items():
            kept = [item for item, without in zip(items[: last + 1], gone, strict=False) if not without]
            if items and not kept:
                raise _LostError
            yield self._with(node, node.start_mark.column, entries, kept[-1] if kept else None)

    def _with(self, node: yaml.CollectionNode, column: int, added: Sequence[str], after: yaml.Node | None) -> _Edit:
        """Entries after one of a collection's, or in an empty one."""
        if after is None:
            at = _end(node) - 1
            return at, at, ", ".join(added)
        if node.flow_style:
            return _end(after), _end(after), "".join(f", {entry}" for entry in added)
        at = self._line_end(_end(after))
        dash = "- " if isinstance(node, yaml.SequenceNode) else ""
        return at, at, "".join(f"\n{' ' * column}{dash}{entry}" for entry in added)

    def _without(
        self, node: yaml.CollectionNode, places: Sequence[tuple[int, int]], gone: Sequence[bool]
    ) -> Iterator[_Edit]:
        """Entries less: their lines, or their pieces of a line with one comma each."""
        for i in [i for i, without in enumerate(gone) if without]:
            start, end = places[i]
            if not node.flow_style:
                yield self._text.rfind("\n", 0, start) + 1, self._line_end(end) + 1, ""
            elif all(gone[:i]):  # the first of those that stay has none before it
                yield start, places[i + 1][0] if i + 1 < len(places) else end, ""
            else:
                yield places[i - 1][1], end, ""

    def _line_end(self, position: int) -> int:
        found = self._text.find("\n", position)
        return len(self._text) if found < 0 else found


def _alike(old: Any, new: Any) -> bool:
    """Whether one is the other by another name."""
    return isinstance(old, Mapping) and {**old, "name": ""} == {**new, "name": ""}


def _end(node: yaml.Node) -> int:
    """Where a node's text ends; the parser sees the end of a block only at what follows."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    found: int = node.end_mark.index
    return found
