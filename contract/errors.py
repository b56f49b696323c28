"""The one family of errors that every command turns into a single line and an exit status.

A message says what was looked at, what was found, what was expected, and the command that fixes it.

    raise Refused("b/step.fp32.onnx: sha256 differs from the manifest; export the bundle again")
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable


class EdgeError(Exception):
    """Anything that the user can fix; `status` is the exit status of the command that met it."""

    status = 1


class UsageError(EdgeError, ValueError):
    """A wrong argument: an unknown field, a number out of range, two options that exclude each other."""

    status = 2


class Refused(EdgeError, ValueError):
    """A file or folder that isn't what it should be: missing, altered, truncated, of another format."""


class Unavailable(EdgeError, RuntimeError):
    """Something that this machine lacks: a backend, a driver, a package."""


class ParityError(EdgeError, AssertionError):
    """An exported file whose frames differ from the reference by more than its tolerance."""


def run_command(program: str, run: Callable[[], int]) -> int:
    """Run a command's body and return its exit status: 0 done, 1 failed, 2 usage.

    Errors that the user can fix, a full disk and Ctrl-C become one line on stderr; a bug keeps its traceback.
    """
    _print_on_any_console()
    try:
        return run()
    except EdgeError as error:
        message, status = str(error), error.status
    except MemoryError as error:
        message = (
            f"not enough memory{f' ({error})' if str(error) else ''}; close other programs, or take a smaller --batch"
        )
        status = 1
    except KeyboardInterrupt:
        message, status = "interrupted; what is written is complete", 1
    except BrokenPipeError:
        message, status = "the reader of the output went away", 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message, status = f"{where}{error.strerror or error}{_advice(error)}", 1
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _advice(error: OSError) -> str:
    """What Python's `tempfile` doesn't say on a read-only machine."""
    return "; name a folder that can be written: TMPDIR=FOLDER" if "temporary directory" in str(error.strerror) else ""


def _print_on_any_console() -> None:
    """An ASCII console shows other characters escaped, where `print` would raise UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
