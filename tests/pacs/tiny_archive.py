"""A DICOMweb archive of one page, on a loopback port. Honest, until a test puts a hook in the place of an answer."""

from __future__ import annotations

import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pydicom.dataset import Dataset

from tests.pacs.dicom_objects import as_bytes

Item = dict[str, dict[str, object]]
DICOM = "application/dicom"


class Answer(BaseHTTPRequestHandler):
    """One request. `kind` is "studies", "series", "objects", "whole" or "one"."""

    protocol_version = "HTTP/1.1"
    archive: TinyArchive

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.parts = address.path.strip("/").split("/")
        self.query = {name: values[0] for name, values in parse_qs(address.query).items()}
        kinds = {1: "studies", 3: "series", 4: "whole", 5: "objects", 6: "one"}
        self.kind = kinds[len(self.parts)]
        self.archive.asked[self.kind] += 1
        self.archive.headers.append({name.lower(): value for name, value in self.headers.items()})
        try:
            self.archive.hooks.get(self.kind, Answer.honest)(self)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def honest(self) -> None:
        if self.kind in ("whole", "one"):
            self.parts_of([as_bytes(one) for one in self.chosen()])
        else:
            self.json(self.listed())

    def chosen(self) -> list[Dataset]:
        tags = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        asked = dict(zip(tags, self.parts[1::2], strict=False))
        return [one for one in self.archive.objects if all(one[tag].value == uid for tag, uid in asked.items())]

    def listed(self) -> list[Item]:
        level = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "objects": "SOPInstanceUID"}[self.kind]
        chosen = [one for one in self.chosen() if self.query.get("PatientID", one.PatientID) == one.PatientID]
        count = Counter(str(one[level].value) for one in chosen)
        items = {str(one[level].value): item_of(one, count[str(one[level].value)]) for one in chosen}
        start = int(self.query.get("offset", "0"))
        return list(items.values())[start : start + min(int(self.query["limit"]), self.archive.page)]

    def json(self, found: object) -> None:
        self.whole(json.dumps(found).encode(), "application/dicom+json")

    def whole(self, body: bytes, kind: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def parts_of(self, parts: Iterable[bytes], *, kind: str = DICOM, end: bytes = b"\r\n--b--\r\n") -> None:
        """Ends with the connection, as Orthanc does; so a lack of parts or of an end is not seen on the way."""
        self.send_response(200)
        self.send_header("Content-Type", f'multipart/related; type="{DICOM}"; boundary=b')
        self.send_header("Connection", "close")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"\r\n--b\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + part)
        self.wfile.write(end)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


Hook = Callable[[Answer], None]


class TinyArchive:
    """objects are handed out; hooks[kind] answers in place of the archive; `asked` counts requests by kind."""

    def __init__(self, objects: list[Dataset], page: int = 1000) -> None:
        self.objects, self.page = objects, page
        self.hooks: dict[str, Hook] = {}
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        handler = type("Bound", (Answer,), {"archive": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def speak_tls(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def item_of(dataset: Dataset, count: int) -> Item:
    """What QIDO says of an object, its series and its study at once."""
    tags = ("PatientID", "StudyDate", "AccessionNumber", "Modality", "SeriesDescription", "Rows", "Columns")
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "BitsAllocated")
    item: Item = {f"{dataset[tag].tag:08X}": {"vr": "LO", "Value": [dataset[tag].value]} for tag in (*tags, *uids)}
    item["00080061"] = {"vr": "CS", "Value": [dataset.Modality]}
    item["00201209"] = {"vr": "IS", "Value": [count]}
    return item
