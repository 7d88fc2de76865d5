"""The hospital's ClientApp: Flower's message in, `respond`, Flower's message out. Deployment and simulation run it.

`context.node_config` holds `site` (path of `site.toml`) and `device`; both are the hospital's own.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fl_liver.client import egress
from fl_liver.client.respond import respond
from fl_liver.client.site import load_site
from fl_liver.errors import ProtocolError
from fl_liver.messages import Incoming
from fl_liver.wire import from_record

log = logging.getLogger("fl_liver.site")
_QUESTIONS: tuple[type[Incoming], ...] = get_args(Incoming)

app = ClientApp()


def _handle(message: Message, context: Context) -> Message:
    site = load_site(Path(str(context.node_config["site"])))
    try:
        question: Incoming = from_record(message.content, _QUESTIONS)
    except ProtocolError as error:
        return Message(egress.refuse(site, "PROTOCOL", str(error)), reply_to=message)
    return Message(respond(site, question, str(context.node_config.get("device", "auto"))), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Local training."""
    return _handle(message, context)


@app.query()
def query(message: Message, context: Context) -> Message:
    """Everything else: readiness, scoring, sums, named figures."""
    return _handle(message, context)
