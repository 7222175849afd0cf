"""Source distributions of the packages installed here: ``python -m tests.pipelines.sources``.

Wheels leave examples and tests out. pip wants to build what it downloads as source, hence the build
tools that it fetches, and the bound on one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(sys.prefix) / "pipeline-sources"
#: b2luigi's pyproject.toml is of the kind that flit 4 refuses
BUILD_TOOLS = "flit<4\nflit_core<4\n"


def archive(package: str) -> Path:
    """Return where the source of an installed package is, or will be."""
    return FOLDER / f"{package.replace('-', '_')}-{version(package)}.tar.gz"


def texts(package: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of each text file of a package."""
    with tarfile.open(archive(package)) as packed:
        for member in packed:
            content = packed.extractfile(member)
            if content is not None:
                data = content.read()
                if b"\0" not in data:
                    yield member.name.partition("/")[2], data.decode()


def fetch(packages: Iterable[str]) -> None:
    """Download what is not there yet."""
    FOLDER.mkdir(exist_ok=True)
    bounds = FOLDER / "build-tools.txt"
    bounds.write_text(BUILD_TOOLS)
    # The second name is that of newer pips.
    env = {**os.environ, "PIP_CONSTRAINT": str(bounds), "PIP_BUILD_CONSTRAINT": str(bounds)}
    for package in packages:
        if not archive(package).exists():
            wanted = f"{package}=={version(package)}"
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
            options = ["--no-binary", package, "-d", str(FOLDER)]
            subprocess.run([*pip, *options, wanted], check=True, env=env)


if __name__ == "__main__":
    from tests.pipelines.known import PIPELINES, SUITES

    fetch(sorted({each.package for each in (*PIPELINES, *SUITES)}))
