"""Where a dataset is kept: a local folder, or any address that fsspec knows (`s3://…`, `gs://…`, `memory://…`).

    storage = open_storage("frames")
    storage.write("dataset.json", content)              # whole or not at all
    with storage.create("frames/00000.tar") as file: ...

Names are relative, with forward slashes. A local folder needs no fsspec.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from contract.dataset import DESCRIPTION
from contract.errors import EdgeError, Refused, Unavailable
from contract.files import TEMPORARY, whole_file, write_whole
from contract.locks import lock_folder


class Storage(Protocol):
    """Files of one dataset by their names; what isn't there raises FileNotFoundError."""

    address: str

    def read(self, name: str) -> bytes:
        """The content of a file."""

    def open(self, name: str) -> IO[bytes]:
        """A file for reading; it can seek."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; may be called from several threads."""

    def create(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A new file, which appears whole when the context ends without an error."""

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in a folder, sorted; none where there is no folder."""

    def size(self, name: str) -> int:
        """Bytes of a file, 0 where there is none."""

    def lock(self) -> None:
        """Refused where another run on this machine holds the dataset; only local folders can tell."""

    def close(self) -> None:
        """Release the lock."""


def open_storage(address: str | Path) -> Storage:
    """A local folder, or what fsspec makes of an address with `://`; Unavailable without fsspec."""
    text = str(address)
    if "://" not in text:
        return LocalStorage(Path(text))
    return AddressStorage(text)


class LocalStorage:
    """A folder of a file system, made on first use."""

    def __init__(self, folder: Path) -> None:
        self.address, self.folder = str(folder), folder
        self._made: set[Path] = set()
        self._lock, self._locked = contextlib.ExitStack(), False
        if folder.exists() and not folder.is_dir():
            raise Refused(f"{folder}: a file, expected a folder; name another with -o")

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def open(self, name: str) -> IO[bytes]:
        return open(self.folder / name, "rb")

    def write(self, name: str, content: bytes) -> None:
        # A frame that a power cut empties is drawn again; without its description nobody goes on with a dataset.
        write_whole(self._in_folder(name), content, sync=name == DESCRIPTION)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        with whole_file(self._in_folder(name)) as file:
            yield file

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def names(self, folder: str = "") -> list[str]:
        path = self.folder / folder
        return sorted(os.listdir(path)) if path.is_dir() else []

    def size(self, name: str) -> int:
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def lock(self) -> None:
        if not self._locked:
            self._lock.enter_context(lock_folder(self.folder))
            self._locked = True

    def close(self) -> None:
        self._lock.close()
        self._locked = False

    def _in_folder(self, name: str) -> Path:
        path = self.folder / name
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)
        return path


class _Reporting:
    """A file system whose calls fail as Unavailable where a client library has errors of its own, as of credentials."""

    def __init__(self, files: Any, address: str) -> None:
        self._files, self._address = files, address

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._files, name)

        def call(*args: Any, **options: Any) -> Any:
            try:
                return method(*args, **options)
            except (OSError, EdgeError):
                raise
            except Exception as error:
                raise Unavailable(f"{self._address}: {type(error).__name__}: {error}") from error

        return call


class AddressStorage:
    """An address that fsspec opens. Object stores show a file when it is closed, and so never show half of one."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]
        except ImportError:
            raise Unavailable(f"{address}: takes fsspec; run: pip install '.[datasets]'") from None
        try:
            self._files, root = url_to_fs(self.address, auto_mkdir=True)
        except (ImportError, ValueError) as error:
            raise Unavailable(f"{address}: {error}") from None
        except TypeError:  # a file system that needs no folders
            self._files, root = url_to_fs(self.address)
        self._files, self._root = _Reporting(self._files, self.address), str(root).rstrip("/")

    def read(self, name: str) -> bytes:
        content: bytes = self._files.cat_file(self._path(name))
        return content

    def open(self, name: str) -> IO[bytes]:
        file: IO[bytes] = self._files.open(self._path(name), "rb")
        return file

    def write(self, name: str, content: bytes) -> None:
        self._files.pipe_file(self._path(name), content)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        # Under a name of its own first: not every file system hides a file that is being written.
        temporary = self._path(name + TEMPORARY)
        try:
            with self._files.open(temporary, "wb") as file:
                yield file
            self._files.mv(temporary, self._path(name))
        except BaseException:
            with contextlib.suppress(Exception):
                self._files.rm_file(temporary)
            raise

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def names(self, folder: str = "") -> list[str]:
        self._files.invalidate_cache()
        path = self._path(folder).rstrip("/")
        try:
            found: list[Any] = self._files.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted({str(name).rstrip("/").rsplit("/", 1)[-1] for name in found if str(name).rstrip("/") != path})

    def size(self, name: str) -> int:
        try:
            return int(self._files.size(self._path(name)) or 0)
        except FileNotFoundError:
            return 0

    def lock(self) -> None:
        return None

    def close(self) -> None:
        return None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root
