"""Which code a process runs, measured: user files are compiled from the bytes that are hashed.

A user file is what is imported from anywhere but the standard library, ``site-packages`` or
``dist-packages`` (also those of a virtual environment inside a user's folder) and flow's own
packages: a module below a worker's ``--path``, beside a script, in the current directory, of an
editable install. Places are compared with symbolic links of directories resolved.

From ``Sources.install`` on, and for all of the process:

- source files are read once, hashed, and compiled from those bytes or taken from the cache of
  compiled code by that hash. No ``.pyc`` of them is read or written: it is believed by time and
  size, and edits within one second then run the first version.
- modules that are only a ``.pyc``, and extension modules, are hashed when they are loaded.
- of a zip file or egg the archive is hashed, once, when the first module comes from it.
- what other loaders load (rewritten tests, Cython's ``pyximport``), and user modules that were
  imported before ``install``, are hashed from the disk when ``files`` or ``identity`` is asked.

Files over ``WHOLE_BYTES_MAX`` that are not sources count by size, beginning and end (where a zip
file keeps the checksums of all its members). What user code reads and executes by itself
(``exec``, ``runpy.run_path``) is data, and not seen here.

The hook is ``get_code`` of the loaders, not a path hook: path entries, ``spec_from_file_location``,
``runpy`` and the finders of editable installs share the loaders and nothing else, and a path hook
would have to win against whatever is already in ``sys.path_importer_cache``.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import zipimport
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from importlib.machinery import SourcelessFileLoader as PycLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from flow_worker.process.compiled import CACHE_BYTES_MAX, CodeCache
from flow_worker.process.places import Places, versions_of

#: A code id is a SHA-256 cut to this many hex digits.
ID_DIGITS = 16
#: Archives and extension modules over this size are hashed at both ends only.
WHOLE_BYTES_MAX = 256 << 20

Hook = Callable[..., Any]

#: Modules that were there before any code of a user's: they need not be looked at, again and again.
_of_flow: dict[str, object] = {}

_IMPORTLIB = "<frozen importlib._bootstrap_external>"
_SOURCE_TO_CODE = SourceFileLoader.source_to_code


def know_own_modules() -> None:
    """Take all that is imported now for flow's and Python's. For where no user's code ever is."""
    _of_flow.update((name, module) for name, module in sys.modules.items() if name != "__main__")


class Sources:
    """The user files of this process. Make one, ``install`` it, import, ask ``identity``."""

    def __init__(
        self, folders: Sequence[str], cache: Path | None, bytes_max: int = CACHE_BYTES_MAX
    ) -> None:
        self._places = Places(folders)
        self._cache = None if cache is None else CodeCache(cache, bytes_max)
        #: (module, path as the loader has it) -> SHA-256, of what was loaded last.
        self._seen: dict[tuple[str, str], str] = {}
        self._installed = False
        #: Why compiled code is not cached though it should be; told to people by whoever asks.
        self.complaint = ""

    def install(self) -> None:
        """Compile user files from the bytes that are hashed, from now on and process-wide.

        A later one takes over from an earlier one.
        """
        if self._installed:
            return
        self._installed = True
        if self._cache is not None:
            self.complaint = self._cache.refusal()
            if self.complaint:
                self._cache = None
        # Directories are listed anew: a file may be younger than their times can tell.
        importlib.invalidate_caches()
        _hook(SourceFileLoader, "get_code", self._get_code_of_source)
        _hook(PycLoader, "get_code", self._get_code_of_pyc)
        _hook(zipimport.zipimporter, "get_code", self._get_code_of_archive)
        _hook(ExtensionFileLoader, "create_module", self._create_extension)

    def identity(self, files: Mapping[str, str] | None = None) -> str:
        """Return what tells this code from other code: the same on every host that has the same.

        ``files`` is what ``files()`` returned a moment ago, if it was called.
        """
        files = self.files() if files is None else files
        whole = hashlib.sha256(f"{sys.version_info[0]}.{sys.version_info[1]}\n".encode())
        for name, digest in files.items():
            whole.update(f"{name}\0{digest}\n".encode("utf-8", "surrogateescape"))
        given = os.environ.get("FLOW_CODE_ID", "")
        for text in [given] if given else versions_of(self._outside()):
            whole.update(f"{text}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()[:ID_DIGITS]

    def files(self) -> dict[str, str]:
        """Return the user files that were imported so far, by name, with their SHA-256.

        A name is the same on every host: ``package/module.py``, as the import system sees it; the
        path below a folder where the module is not called like the file; else the module's name.
        """
        self._look_at_modules()
        found: dict[str, set[str]] = {}
        for (module, path), digest in list(self._seen.items()):
            found.setdefault(self._places.name_of(module, path), set()).add(digest)
        return {
            name if number == 1 else f"{name} ({number})": digest
            for name, digests in sorted(found.items())
            for number, digest in enumerate(sorted(digests), 1)
        }

    def unchanged(self) -> bool:
        """Tell whether all that was imported is on the disk as it was. Cost: each file is read."""
        try:
            return all(_digest_of(path) == known for (_, path), known in list(self._seen.items()))
        except OSError:
            return False

    def _outside(self) -> list[str]:
        found = (self._places.outside(path) for _, path in list(self._seen))
        return [real for real in found if real]

    # ------------------------------------------------------------------------------ the hooks

    def _get_code_of_source(self, before: Hook) -> Hook:
        holds, look, keep = self._places.holds, self._look, self._keep

        def get_code(loader: SourceFileLoader, fullname: str) -> Any:
            path = loader.get_filename(fullname)
            if not holds(path):
                return before(loader, fullname)
            data = loader.get_data(path)
            key, code = look(loader, fullname, path, data)
            if code is None:
                # Here and not below, so that errors have the traceback that Python's have.
                code = loader.source_to_code(data, path)
                if key:
                    keep(key, code)
            return code

        return get_code

    def _look(
        self, loader: SourceFileLoader, module: str, path: str, data: bytes
    ) -> tuple[bytes, CodeType | None]:
        """Note the file; return the key it is cached with, if it is, and its code, if known."""
        digest = hashlib.sha256(data, usedforsecurity=False)
        self._seen[module, path] = digest.hexdigest()
        # Loaders that compile in their own way get to do so.
        if self._cache is None or type(loader).source_to_code is not _SOURCE_TO_CODE:
            return b"", None
        key = self._cache.key(digest.digest(), path)
        return key, self._cache.get(key)

    def _keep(self, key: bytes, code: CodeType) -> None:
        if self._cache is not None:
            self._cache.put(key, code)

    def _get_code_of_pyc(self, before: Hook) -> Hook:
        def get_code(loader: PycLoader, fullname: str) -> Any:
            path = loader.get_filename(fullname)
            if not self._places.holds(path):
                return before(loader, fullname)
            data = loader.get_data(path)
            self._seen[fullname, path] = hashlib.sha256(data).hexdigest()
            return before(_ReadPyc(fullname, path, data), fullname)

        return get_code

    def _get_code_of_archive(self, before: Hook) -> Hook:
        def get_code(loader: zipimport.zipimporter, fullname: str) -> Any:
            self._note_file(os.path.basename(loader.archive), loader.archive)
            return before(loader, fullname)

        return get_code

    def _create_extension(self, before: Hook) -> Hook:
        def create_module(loader: ExtensionFileLoader, spec: ModuleSpec) -> Any:
            self._note_file(spec.name, loader.path)
            return before(loader, spec)

        return create_module

    def _note_file(self, module: str, path: str) -> None:
        """Hash a user file that is read by others, unless that was done."""
        if (module, path) not in self._seen and self._places.holds(path):
            try:
                self._seen[module, path] = _digest_of(path)
            except OSError:
                # It is not there or not readable, which whoever loads it says with Python's words;
                # and modules make up a ``__file__`` that never was.
                return

    def _look_at_modules(self) -> None:
        """Note user files whose modules came past the hooks."""
        paths = {path for _, path in list(self._seen)}
        for name, module in sys.modules.copy().items():
            if module is _of_flow.get(name):
                continue
            path = _file_of(module)
            # ``__main__`` of a process of flow is the program that pip made for it.
            if (
                path
                and path not in paths
                and not (name == "__main__" and self._places.is_program(path))
            ):
                self._note_file(name, path)


class _ReadPyc(PycLoader):
    """A ``.pyc`` that was read already: Python judges the bytes that were hashed."""

    def __init__(self, fullname: str, path: str, data: bytes) -> None:
        super().__init__(fullname, path)
        self._data = data

    def get_data(self, path: str) -> bytes:
        return self._data


def _hook(loader: type, method: str, make: Callable[[Hook], Hook]) -> None:
    hook = make(getattr(loader, method))
    assert isinstance(hook, FunctionType)
    # Python leaves its own frames out of the traceback of a syntax error, and knows them by this.
    hook.__code__ = hook.__code__.replace(co_filename=_IMPORTLIB)
    setattr(loader, method, hook)


def _file_of(module: object) -> str:
    """Return the file of a loaded module, without running any code of it."""
    if not issubclass(type(module), ModuleType):
        return ""
    # Lazy modules load themselves when anything else asks them for anything.
    names = object.__getattribute__(module, "__dict__")
    spec = names.get("__spec__")
    if type(spec) is not ModuleSpec:
        path = names.get("__file__")
    elif isinstance(spec.loader, zipimport.zipimporter):
        path = spec.loader.archive
    else:
        path = spec.origin if spec.has_location else None
    return path if isinstance(path, str) else ""


def _digest_of(path: str) -> str:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= WHOLE_BYTES_MAX:
            return hashlib.file_digest(file, "sha256").hexdigest()
        ends = hashlib.sha256(f"{size}\n".encode())
        ends.update(file.read(WHOLE_BYTES_MAX // 2))
        file.seek(size - WHOLE_BYTES_MAX // 2)
        ends.update(file.read(WHOLE_BYTES_MAX // 2))
        return ends.hexdigest()
