"""Labels that came for requests of a release while it runs: what both answers were worth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from mlops.capture.reading import CaptureLine, read
from mlops.contract import Contract
from mlops.manifest import Manifest
from mlops.objects import ObjectInfo, ObjectStore, label_prefix
from mlops.quality.labels import Labels, parse
from mlops.release.losses import Paired, loss

#: Bytes of label files that are read, the newest files first, and requests that are joined with them, the first ones: a
#: check has memory and time for so many.
MAX_BYTES, MAX_LINES = 16_000_000, 50_000

#: By how much the clocks of two functions may differ.
SKEW = timedelta(minutes=1)


@dataclass(frozen=True)
class LabelSource:
    """Where labels and captures of one release are.

    Labels find their answer by ``inference_id``. One that names an entity does not count here: captures have the
    entity under a key that the release has no right to.
    """

    data: ObjectStore
    contract: Contract
    champion: Manifest
    challenger: Manifest
    release_id: str
    since: datetime

    def realised(
        self, until: datetime, lines: Sequence[Mapping[str, Any]], known: Paired, digest: str
    ) -> tuple[Paired, str]:
        """The losses of every request of the release whose label has come, and a digest of the label files.

        ``known`` and ``digest`` are what the look before gave. While no label file and none of the new capture
        ``lines`` changes anything, they are what it gives again; otherwise everything is joined anew: labels come in
        any order, and may be corrected.
        """
        files = self._files() if self._same_classes() else []
        seen = hashlib.sha256("\n".join(f"{f.key} {f.modified} {f.size}" for f in files).encode()).hexdigest()[:16]
        if not files or (seen == digest and not lines):
            return known, seen
        labels = self._labels(files)
        ids = {str(row.get("id")) for line in lines for row in line.get("rows", ())}
        if not labels.by_id or (seen == digest and not ids & labels.by_id.keys()):
            return known if labels.by_id else Paired(), seen
        lines_so_far = read(self.data, self.contract.name, self.since - SKEW, until + SKEW)
        return self._joined(labels, lines_so_far), seen

    def _same_classes(self) -> bool:
        """A label is the position of a class in the contract, a score that in the manifest."""
        wanted = self.contract.target.classes if self.contract.task == "classification" else ()
        return self.champion.classes == self.challenger.classes == wanted

    def _files(self) -> list[ObjectInfo]:
        """Files that arrived since the release began, oldest first."""
        found = [i for i in self.data.list(label_prefix(self.contract.name)) if self._is_new(i)]
        found.sort(key=lambda info: (info.modified, info.key))
        total, kept = 0, list[ObjectInfo]()
        for info in reversed(found):
            total += info.size
            if total > MAX_BYTES:
                break
            kept.append(info)
        return kept[::-1]

    def _is_new(self, info: ObjectInfo) -> bool:
        return datetime.fromisoformat(info.modified) >= self.since

    def _labels(self, files: Sequence[ObjectInfo]) -> Labels:
        labels = Labels()
        for info in files:
            rows = parse(self.data.get(info.key))
            labels.add(rows, self.contract, datetime.fromisoformat(info.modified), lambda values: "")
        return labels

    def _joined(self, labels: Labels, lines: Iterable[CaptureLine]) -> Paired:
        found: dict[str, Paired] = {}
        ours = (line for line in lines if line.release == self.release_id and not line.is_replay)
        for line in islice(ours, MAX_LINES):
            for row in line.rows:
                label = labels.by_id.get(row.id)
                if label is not None and row.champion is not None and row.challenger is not None:
                    found[row.id] = Paired.of(
                        loss(self.champion, row.champion, label.value),
                        loss(self.challenger, row.challenger, label.value),
                    )
        return sum(found.values(), Paired())
