"""FedBN: every hospital trains and scores with BatchNorm layers of its own (Li et al., ICLR 2021).

They are in the masked sum like all others, because a hospital that never trained (an external one) scores with their
mean. With other strategies this file does nothing.

The layers are kept by round, so that a run that is resumed after round r starts every site from its layers of round r,
also where the interrupted round r + 1 had already been trained here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from fl_liver.client.train import local_positions
from fl_liver.messages import Vector
from fl_liver.study import Study
from fl_liver.whole_file import instead_of


class LocalLayers:
    """The local part of one flat vector at one site; `rows` tells the federations of cross-fitting apart."""

    def __init__(self, study_folder: Path, study: Study, rows: str) -> None:
        self._folder = study_folder / "local" / rows
        self._study = study
        self._active = study.training.strategy == "fedbn"

    def restore(self, vector: Vector, before_round: int | None) -> Vector:
        """`vector` with this site's own layers of the last round (before `before_round`) put in, if there are any."""
        rounds = self._rounds(before_round) if self._active else []
        if not rounds:
            return vector
        mine = vector.copy()
        mine[local_positions(self._study)] = load_file(self._path(rounds[-1]))["local"]
        return mine

    def keep(self, vector: Vector, round_number: int) -> None:
        """Keep this round's layers and the previous round's; drop what is older, and what a resumed run has undone."""
        if not self._active:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with instead_of(self._path(round_number)) as part:
            save_file({"local": np.ascontiguousarray(vector[local_positions(self._study)])}, part)
        for old in self._rounds(None):
            if old not in (round_number, round_number - 1):
                self._path(old).unlink()

    def _rounds(self, before: int | None) -> list[int]:
        if not self._folder.is_dir():
            return []
        found = sorted(int(path.stem.removeprefix("round-")) for path in self._folder.glob("round-*.safetensors"))
        return [number for number in found if before is None or number < before]

    def _path(self, round_number: int) -> Path:
        return self._folder / f"round-{round_number:04d}.safetensors"
