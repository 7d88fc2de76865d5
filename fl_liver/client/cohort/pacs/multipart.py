"""Take a multipart/related answer (RFC 2046) apart while it comes: nothing is kept but the piece in hand.

A part counts as whole only when the delimiter behind it was seen: an archive that dies closes its connection, and
looks like one that is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message

from fl_liver.errors import ProtocolError, UnreachableError

_MAX_HEADER_BYTES = 16 << 10
_BOUNDARY = re.compile(r"[!-~ ]{0,199}[!-~]")
"""RFC 2046 allows 70 characters; Orthanc writes 72."""


def boundary_of(content_type: str, where: str) -> bytes:
    """The boundary that a Content-Type names.

    >>> boundary_of('multipart/related; type="application/dicom"; boundary="a b"', "pacs:443")
    b'a b'

    Raises:
        ProtocolError: the answer is not multipart/related of application/dicom, or names no boundary.
    """
    header = Message()
    header["Content-Type"] = content_type
    kind, inner, boundary = header.get_content_type(), header.get_param("type"), header.get_param("boundary")
    if not content_type.lower().startswith("multipart/related"):
        found = kind if content_type else "nothing"
        raise ProtocolError(f"{where}: sends {found:.60} where multipart/related of DICOM objects was wanted")
    if isinstance(inner, str) and inner.lower() != "application/dicom":
        raise ProtocolError(f"{where}: sends parts of type {inner!r:.60}, wanted application/dicom")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise ProtocolError(f"{where}: sends a multipart answer without a usable boundary")
    return boundary.encode("ascii")


class Multipart:
    """The parts of one answer, each a stream of bytes; a part must be read to its end before the next.

    Args:
        where: host and port, for errors.
        cut: what to say when the answer ends early.

    Raises (while read):
        UnreachableError: the answer ends before its last delimiter.
        ProtocolError: it is no multipart message.
    """

    def __init__(self, pieces: Iterator[bytes], boundary: bytes, where: str, cut: str) -> None:
        self._pieces = pieces
        self._delimiter = b"\r\n--" + boundary
        self._where, self._cut = where, cut
        # As if a line ended before the first delimiter, which may be the first of all bytes.
        self._held = bytearray(b"\r\n")

    def __iter__(self) -> Iterator[Iterator[bytes]]:
        self._pass_preamble()
        while self._begins():
            yield self._body()
        self._pass_epilogue()

    def _pass_preamble(self) -> None:
        passed = 0
        for piece in self._body():
            passed += len(piece)
            if passed > _MAX_HEADER_BYTES:
                raise ProtocolError(f"{self._where}: the announced boundary does not come; wanted a multipart answer")

    def _pass_epilogue(self) -> None:
        """To the end of the answer, so that the connection can be used again; not further than a header is long."""
        passed = 0
        for piece in self._pieces:
            passed += len(piece)
            if passed > _MAX_HEADER_BYTES:
                return

    def _begins(self) -> bool:
        """Read on to the body of the next part; False behind the last one."""
        self._fill_to(2)
        if self._held.startswith(b"--"):
            return False
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > _MAX_HEADER_BYTES:
                raise ProtocolError(f"{self._where}: sends a part whose header has no end; wanted a multipart answer")
            self._fill()
        self._require_dicom(bytes(self._held[:end]))
        del self._held[: end + 4]
        return True

    def _require_dicom(self, header: bytes) -> None:
        for line in header.split(b"\r\n"):
            name, _, value = line.partition(b":")
            kind = value.partition(b";")[0].strip().lower()
            if name.strip().lower() == b"content-type" and kind != b"application/dicom":
                found = kind.decode("ascii", "replace")
                raise ProtocolError(f"{self._where}: sends a part of type {found!r:.60}, wanted application/dicom")

    def _body(self) -> Iterator[bytes]:
        tail = len(self._delimiter) - 1
        while (end := self._held.find(self._delimiter)) < 0:
            if len(self._held) > tail:
                yield bytes(self._held[:-tail])
                del self._held[:-tail]
            self._fill()
        if end:
            yield bytes(self._held[:end])
        del self._held[: end + len(self._delimiter)]

    def _fill_to(self, count: int) -> None:
        while len(self._held) < count:
            self._fill()

    def _fill(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise UnreachableError(self._cut)
        self._held += piece
