"""What systemd is told (sd_notify): ready, alive, a line of status, stopping. Nothing where it does not listen."""

from __future__ import annotations

import os
import socket


def tell(*words: str) -> None:
    """Send `READY=1`, `WATCHDOG=1`, `STATUS=…` or `STOPPING=1`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto("\n".join(words).encode(), address)
    except OSError:
        return  # whoever supervises will see by itself
