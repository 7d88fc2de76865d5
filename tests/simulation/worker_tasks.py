"""What the engine tests send to workers: functions, and a small ClientApp. Imported there by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fl_liver.errors import DataError
from fl_liver.messages import Done, Fit, Prepare, Update
from fl_liver.wire import from_record, to_record

CANARY = "Ziegenpeter"
PATIENCE_S = 60.0

app = ClientApp()


def draw(seed: int) -> bytes:
    return np.random.default_rng(seed).normal(size=1000).tobytes()


def refuse(text: str) -> None:
    raise DataError(text)


def own_pid() -> int:
    return os.getpid()


def wait_for(path: str, log: str = "", word: str = "") -> int:
    """Note that it began (pid and word, one line), wait for a file, return the pid."""
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {word}\n")
    until = time.monotonic() + PATIENCE_S
    while not Path(path).exists():
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.01)
    return os.getpid()


def kill_own_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Sends the vector's bits back, plus one; with negative numbers in it, back as it came."""
    fit = from_record(message.content, (Fit,))
    vector = fit.vector if fit.vector[0] < 0 else fit.vector + np.float32(1)
    return Message(to_record(Update(fit.round, vector.view(np.uint32), b"")), reply_to=message)


@app.query()
def query(message: Message, context: Context) -> Message:
    """`crash` raises with text that must stay at the site; anything else is done."""
    if from_record(message.content, (Prepare,)).study_sha256 == "crash":
        raise KeyError(CANARY)
    return Message(to_record(Done(context.node_id)), reply_to=message)
