"""For each endpoint the model of the round that answered it best: networks learn their tasks at different paces.

Of rounds that chance cannot tell apart the newest is kept, which has learnt from the most steps: with few calibration
patients the very best AUC is often an early round's luck.

Schmauch et al., Diagn Interv Imaging 100 (2019) 227: three copies of the weights, each the best on one task. There the
copies were chosen on the patients that they were then tested on; here on calibration patients, who are in no figure.
"""

from __future__ import annotations

import json
from pathlib import Path

from fl_liver.messages import Vector
from fl_liver.parameters import Layout, load_vector, save_vector
from fl_liver.whole_file import write_whole

LUCK = 0.03
"""About one standard error of an AUC of .9 from eighty patients, the calibration patients of a small federation."""


class Snapshots:
    """`snapshots/` of a run: `best.json` and a model for each endpoint; "" is the study's own question."""

    def __init__(self, folder: Path, study_sha256: str) -> None:
        self._folder, self._sha256 = folder, study_sha256
        file = folder / "best.json"
        self.best: dict[str, tuple[int, float]] = {}
        """Endpoint → the round that is kept, and its AUC."""
        self._highest: dict[str, float] = {}
        if file.is_file():
            kept = json.loads(file.read_text())
            self.best = {name: (int(one[0]), float(one[1])) for name, one in kept.items()}
            self._highest = {name: float(one[2]) for name, one in kept.items()}

    def offer(self, endpoint: str, number: int, auc: float, vector: Vector, layout: Layout) -> None:
        """Keep the model of this round unless its AUC lies more than `LUCK` below the highest so far."""
        highest = max(auc, self._highest.get(endpoint, auc))
        if auc < highest - LUCK:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        save_vector(self._path(endpoint), vector, layout, {"study_sha256": self._sha256})
        self.best[endpoint], self._highest[endpoint] = (number, auc), highest
        kept = {name: (*one, self._highest[name]) for name, one in self.best.items()}
        write_whole(self._folder / "best.json", json.dumps(kept), durable=True)

    def model(self, endpoint: str, otherwise: Vector) -> Vector:
        """The best model for an endpoint; `otherwise` where none was offered."""
        return load_vector(self._path(endpoint))[0] if endpoint in self.best else otherwise

    def _path(self, endpoint: str) -> Path:
        return self._folder / f"{endpoint or 'main'}.safetensors"
