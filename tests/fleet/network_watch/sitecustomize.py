"""Found by every Python process with this folder in PYTHONPATH: notes the hosts that it looks up or connects to."""

from __future__ import annotations

import os
import sys
from typing import Any

NOTED = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.connect": 1, "socket.sendto": 1}
"""Events of Python's audit hooks, and which argument says where to."""


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event in NOTED:
        where = arguments[NOTED[event]]
        host = where[0] if isinstance(where, tuple) else where
        with open(os.environ["NETWORK_WATCH"], "a") as file:
            file.write(f"{event} {host}\n")


if "NETWORK_WATCH" in os.environ:
    sys.addaudithook(note)
