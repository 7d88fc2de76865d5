"""For each endpoint the model of the round that answered it best: networks learn their tasks at different paces.

Schmauch et al., Diagn Interv Imaging 100 (2019) 227: three copies of the weights, each the best on one task. There the
copies were chosen on the patients that they were then tested on; here on calibration patients, who are in no figure.
"""

from __future__ import annotations

import json
from pathlib import Path

from fl_liver.messages import Vector
from fl_liver.parameters import Layout, load_vector, save_vector
from fl_liver.whole_file import write_whole


class Snapshots:
    """`snapshots/` of a run: `best.json` and a model for each endpoint; "" is the study's own question."""

    def __init__(self, folder: Path, study_sha256: str) -> None:
        self._folder, self._sha256 = folder, study_sha256
        file = folder / "best.json"
        self.best: dict[str, tuple[int, float]] = {}
        """Endpoint → round and AUC."""
        if file.is_file():
            self.best = {name: (int(one[0]), float(one[1])) for name, one in json.loads(file.read_text()).items()}

    def offer(self, endpoint: str, number: int, auc: float, vector: Vector, layout: Layout) -> None:
        """Keep the model of this round where it is better than all before; of equals the earliest stays."""
        if endpoint in self.best and auc <= self.best[endpoint][1]:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        save_vector(self._path(endpoint), vector, layout, {"study_sha256": self._sha256})
        self.best[endpoint] = number, auc
        write_whole(self._folder / "best.json", json.dumps(self.best), durable=True)

    def model(self, endpoint: str, otherwise: Vector) -> Vector:
        """The best model for an endpoint; `otherwise` where none was offered."""
        return load_vector(self._path(endpoint))[0] if endpoint in self.best else otherwise

    def _path(self, endpoint: str) -> Path:
        return self._folder / f"{endpoint or 'main'}.safetensors"
