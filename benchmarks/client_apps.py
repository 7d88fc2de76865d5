"""ClientApps that speak our messages and do the benchmark's work instead of a hospital's."""

from __future__ import annotations

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from benchmarks.workload import weight
from fl_liver.messages import Fit, Update, from_record, to_record

echo, cnn = ClientApp(), ClientApp()


@echo.train()
def echo_train(message: Message, context: Context) -> Message:
    """Return the vector that came."""
    question = from_record(message.content, (Fit,))
    update = Update(question.round, question.vector, weight(int(context.node_id)), 0.0)
    return Message(to_record(update), reply_to=message)


@cnn.train()
def cnn_train(message: Message, context: Context) -> Message:
    """Train the small CNN; the vector goes in and out flat."""
    from benchmarks import small_cnn

    question = from_record(message.content, (Fit,))
    client = int(context.node_id)
    tensors, loss = small_cnn.train(small_cnn.split(question.vector), client, question.round)
    return Message(to_record(Update(question.round, small_cnn.flat(tensors), weight(client), loss)), reply_to=message)
