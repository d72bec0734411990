"""The environment of the suites, and their sources: created once, then kept in `.cache/`."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yamanote

if TYPE_CHECKING:
    from tests.ecosystem.suites import Suite

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"

#: The files in which pytest looks for its configuration, in this order.
CONFIGURATIONS = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")


def interpreter() -> str:
    """Returns the running interpreter's version: `3.13.0`, `3.14.7t`."""
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{platform.python_version()}{threads}"


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the running interpreter, with the requirements of the suites.

    Attributes:
        home: the directory of all files.
    """

    home: Path

    @property
    def python(self) -> Path:
        """The path of its interpreter."""
        return self.home / "venv" / "bin" / "python"

    @property
    def path(self) -> Path:
        """The value of `PYTHONPATH`: the yamanote that is running here, and the plugin."""
        return self.home / "path"

    def prepare(self) -> None:
        """Creates what is missing or was created for other requirements."""
        wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
        done = self.home / "requirements.sha256"
        if not done.exists() or done.read_text() != wanted:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home.mkdir(parents=True)
            subprocess.run([sys.executable, "-m", "venv", self.home / "venv"], check=True)
            self._pip("install", "--quiet", "--prefer-binary", "-r", str(REQUIREMENTS))
            done.write_text(wanted)
        self.path.mkdir(exist_ok=True)
        for target in (Path(yamanote.__file__).parent, HERE / "plugin" / "loop_of_choice.py"):
            link = self.path / target.name
            link.unlink(missing_ok=True)
            link.symlink_to(target.resolve())

    def source(self, suite: Suite) -> Path:
        """Returns the unpacked source distribution, without the code that is installed anyway."""
        requirement = f"{suite.name}=={version(suite.name)}"
        place = self.home.parent / "sources" / requirement
        if not place.exists():
            archives = place.with_name(f"{place.name}.archive")
            self._pip(
                *("download", "--quiet", "--no-deps", "--no-binary", suite.name),
                *("--dest", str(archives), requirement),
            )
            (archive,) = archives.iterdir()
            unpacked = place.with_name(f"{place.name}.unpacked")
            with tarfile.open(archive) as file:
                file.extractall(unpacked, filter="data")
            (root,) = unpacked.iterdir()
            for folder in suite.code:
                shutil.rmtree(root / folder)
            if not any(_configures(root / name) for name in CONFIGURATIONS):
                (root / CONFIGURATIONS[0]).touch()
            root.rename(place)
            unpacked.rmdir()
            shutil.rmtree(archives)
        return place

    def configuration(self, suite: Suite) -> Path:
        """Returns the suite's own pytest configuration, never that of an enclosing directory."""
        source = self.source(suite)
        return next(source / name for name in CONFIGURATIONS if _configures(source / name))

    def _pip(self, *arguments: str) -> None:
        subprocess.run([self.python, "-m", "pip", *arguments], check=True)


def version(name: str) -> str:
    """Returns the version that requirements.txt pins."""
    for line in REQUIREMENTS.read_text().splitlines():
        pinned, _, rest = line.partition("==")
        if pinned.strip() == name:
            return rest.partition(";")[0].strip()
    raise LookupError(name)


def _configures(path: Path) -> bool:
    """Returns whether pytest would take its configuration from this file."""
    if not path.exists():
        return False
    return path.name == "pytest.ini" or bool(
        re.search(r"^\[(tool[.:])?pytest(\.ini_options)?\]", path.read_text(), re.MULTILINE)
    )
