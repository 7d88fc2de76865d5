"""One coverage-guided run: `python -m tests.fuzz.harness TARGET CORPUS SECONDS`. Exit status 0: nothing was found.

atheris mutates the files of CORPUS and keeps those that reach new lines of pydicom, highdicom or our readers. What it
finds (an escape, a crash, an input of more than 30 s, more than 3 GiB) lies in CORPUS as crash-…, timeout-… or oom-….
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_READERS = ("pydicom", "highdicom", "fl_liver.client.cohort")
# Instrumenting takes longer than importing; dictionaries, encoders and what builds documents read no file.
_PYDICOM = (
    *("_dicom_dict", "_private_dict", "_uid_dict", "uid", "sr", "examples", "filewriter", "jsonrep", "waveforms"),
    *("pixels.encoders", "pixel_data_handlers", "data", "datadict", "util", "config", "hooks", "misc"),
)
_HIGHDICOM = (
    *("ann", "sr", "ko", "legacy", "pm", "pr", "sc", "content", "color", "uid", "_standard_utils", "valuerep"),
    *("_pyramid", "frame", "utils", "coding_schemes", "base_content"),
)
_PLAIN = [f"pydicom.{one}" for one in _PYDICOM] + [f"highdicom.{one}" for one in _HIGHDICOM]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod", "os.truncate", "shutil.")
_REACHES = ("socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn")


class Watch:
    """Whether a reader writes, removes, calls a program or the network; it may not do any of these."""

    def __init__(self) -> None:
        self.on = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if writes or event.startswith((*_CHANGES, *_REACHES)):
            self.on = False
            raise PermissionError(f"a reader may not: {event} {arguments}")


def one_input(
    target: Callable[[Path], str], suffix_of: Callable[[bytes], str], folder: Path, seeds: list[bytes]
) -> Callable[[bytes], None]:
    """The function that atheris calls with each input. Libraries that are imported late are imported by the seeds."""
    watch = Watch()

    def test(data: bytes, *, watched: bool = True) -> None:
        path = folder / f"input{suffix_of(data)}"
        path.write_bytes(data)
        watch.on = watched
        try:
            target(path)
        finally:
            broken, watch.on = watched and not watch.on, False
        path.unlink()
        if broken or any(folder.iterdir()):
            raise PermissionError("a reader did more than read")

    for seed in seeds:
        test(seed, watched=False)
    return test


def instrumented_targets(atheris: ModuleType, name: str) -> ModuleType:
    """`tests.fuzz.targets`, imported so that atheris sees which lines of the readers an input reaches."""
    with atheris.instrument_imports(include=_READERS, exclude=_PLAIN):
        if name == "roi":
            with contextlib.suppress(ImportError):
                importlib.import_module("highdicom")
        return importlib.import_module("tests.fuzz.targets")


def main() -> None:
    """Entry point; libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")
    name, corpus, seconds = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3]
    targets = instrumented_targets(atheris, name)
    options = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=3072", "-max_len=32768", "-seed=1"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        seeds = [path.read_bytes() for path in sorted(corpus.iterdir())]
        test = one_input(targets.FUZZED[name], targets.suffix_of, Path(folder), seeds)
        atheris.Setup([sys.argv[0], str(corpus), *options, f"-artifact_prefix={corpus}/"], test)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
