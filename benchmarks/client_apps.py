"""ClientApps that speak our messages and do the benchmark's work instead of a hospital's."""

from __future__ import annotations

from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from benchmarks.encoded import code_of
from benchmarks.workload import weight
from fl_liver.messages import Fit, Update
from fl_liver.wire import from_record, to_record

echo, cnn, untrained = ClientApp(), ClientApp(), ClientApp()


@echo.train()
def echo_train(message: Message, context: Context) -> Message:
    """Return the model that came, as every update leaves: weighted, in fixed point."""
    question = from_record(message.content, (Fit,))
    return _update(message, question, question.vector, int(context.node_id), 0.0)


@cnn.train()
def cnn_train(message: Message, context: Context) -> Message:
    """Train the small CNN; the vector comes flat."""
    from benchmarks import small_cnn

    question = from_record(message.content, (Fit,))
    client = int(context.node_id)
    tensors, loss = small_cnn.train(small_cnn.split(question.vector), client, question.round)
    return _update(message, question, small_cnn.flat(tensors), client, loss)


def _update(message: Message, question: Fit, trained: NDArray[Any], client: int, loss: float) -> Message:
    coded, _ = code_of(len(trained)).encode(trained, question.vector, weight(client), loss)
    return Message(to_record(Update(question.round, coded, b"")), reply_to=message)


@untrained.train()
@untrained.query()
def all_but_training(message: Message, context: Context) -> Message:
    """A hospital's own ClientApp in a round in which training takes no time and changes nothing."""
    from unittest.mock import patch

    from fl_liver.client import respond
    from fl_liver.client.app import app
    from fl_liver.client.train import FitResult

    def fit(*given: Any, rows: Any, **_: Any) -> FitResult:
        return FitResult(given[2], 0.0, len(rows), 0)

    with patch.object(respond, "fit", fit):
        return app(message, context)
