"""The process that reads patients and answers: `python -P -m fl_liver.client.compute SITE.TOML FD WORK`.

`compute_process` starts it. It has no connection to anywhere but a socket to the daemon. It stays warm between
messages; if the kernel kills it, the daemon lives. SIGTERM abandons training at the next batch. torch is imported when
the first message needs it.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from logging.handlers import WatchedFileHandler
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, get_args

from flwr.app import Message, RecordDict

from fl_liver.client import egress, fleet
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.errors import AuditError, ConfigError, ProtocolError
from fl_liver.messages import Abandon, Incoming, Open, Shares, SiteFailure, Survivors
from fl_liver.wire import from_record

log = logging.getLogger("fl_liver.site")
Mode = Literal["open", "closed", "paused"]
"""`closed`: outside the allowed hours, where only a sum that was begun is brought to its end."""
_ENDING = (Shares, Survivors, Open, Abandon)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_QUESTIONS: tuple[type[Incoming], ...] = get_args(Incoming)


@dataclass(frozen=True, slots=True)
class Request:
    """One message to answer."""

    parcel: fleet.Parcel
    mode: Mode


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer, or why there is none. `word` says what it was, for the status."""

    word: str
    parcel: fleet.Parcel | None = None
    failure: SiteFailure | None = None


class Answering:
    """One message after another, until the daemon closes the socket."""

    def __init__(self, site_file: Path) -> None:
        self._site_file, self._stop = site_file, False

    def stop(self, *_: object) -> None:
        """The signal handler."""
        self._stop = True

    def serve(self, connection: Connection) -> None:
        while True:
            try:
                request: Request = connection.recv()
            except EOFError:
                return
            self._stop = False
            connection.send(self.answer(request))

    def answer(self, request: Request) -> Reply:
        """Nothing escapes: a defect is logged here and told as a code."""
        try:
            message = fleet.unpacked(request.parcel)
            site = load_site(self._site_file)
            content = self._content(site, message, request.mode)
            return Reply(_word(content), fleet.answer(message, content))
        except AuditError as error:
            log.error("%s", error)
            return Reply(str(error), failure=SiteFailure.AUDIT)
        except ProtocolError as error:
            log.warning("%s", error)
            return Reply("nothing: unreadable", failure=SiteFailure.UNREADABLE)
        except ConfigError as error:
            log.error("%s", error)
            return Reply("nothing: site.toml", failure=SiteFailure.CONFIG)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                log.exception("a message was not answered")
                return Reply("nothing: a defect, see site.log", failure=SiteFailure.CRASHED)
            where = error.filename or self._site_file.parent
            why = f"{where}: cannot be written ({error.strerror}); nothing leaves until it can"
            log.error("%s", why)
            return Reply(why, failure=SiteFailure.AUDIT)
        except Exception:
            log.exception("a message was not answered")
            return Reply("nothing: a defect, see site.log", failure=SiteFailure.CRASHED)

    def _content(self, site: SiteConfig, message: Message, mode: Mode) -> RecordDict:
        try:
            question: Incoming = from_record(message.content, _QUESTIONS)
        except ProtocolError as error:
            return egress.refuse(site, "PROTOCOL", str(error))
        if mode == "paused" or (mode == "closed" and not isinstance(question, _ENDING)):
            with egress.answering(question):
                return egress.refuse(site, "BUSY", "paused" if mode == "paused" else "outside the allowed hours")
        from fl_liver.client.respond import SITE_DEVICE, respond

        return respond(site, question, SITE_DEVICE, lambda: self._stop)


def _word(content: RecordDict) -> str:
    head = content["message"]
    return str(head["kind"])


def _die_with(parent: int) -> None:
    """A daemon that was killed leaves no process behind that trains for nobody."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _first_to_go() -> None:
    """When memory runs out, the kernel ends this process and not the daemon."""
    try:
        Path("/proc/self/oom_score_adj").write_text("900", encoding="ascii")
    except OSError:
        log.info("the kernel's choice when memory runs out could not be set")


def log_to(work: Path) -> None:
    """`work/site.log`, mode 0600; a new file when it was rotated away."""
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = work / "site.log"
    path.touch(mode=0o600)
    handler = WatchedFileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def main() -> None:
    """Entry point of the process."""
    site_file, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    answering = Answering(site_file)
    signal.signal(signal.SIGTERM, answering.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to(Path(sys.argv[3]))
    _first_to_go()
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    with Connection(descriptor) as connection:
        answering.serve(connection)


if __name__ == "__main__":
    # Under its own name, so that what is sent can be read on the other side.
    from fl_liver.client.compute import main as named_main

    named_main()
