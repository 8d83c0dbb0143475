"""Callers of the API, in the background, for as long as a release needs evidence."""

from __future__ import annotations

import random
import threading
import urllib.error
from collections import Counter
from collections.abc import Sequence

from local.demo.samples import Row
from mlops.aws.workbench import Workbench


class Traffic:
    """Sends small batches from a population until stopped. ``statuses`` counts the answers by HTTP status."""

    def __init__(self, bench: Workbench, model: str, population: Sequence[Row], token: str, *, seed: int = 1) -> None:
        self.bench, self.model, self.token = bench, model, token
        self.population = population
        self.statuses: Counter[int] = Counter()
        self.predictions = 0
        self._random = random.Random(seed)  # noqa: S311 - which row is asked next is no secret
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"traffic-{model}", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._ended.is_set():
            batch = self._random.sample(list(self.population), k=min(8, len(self.population)))
            try:
                answer = self.bench.predict(self.model, batch, self.token)
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                self.statuses[0] += 1  # the engine is being stopped
                continue
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.predictions += len(answer.body["predictions"])
            self._ended.wait(0.1)
