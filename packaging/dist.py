"""Builds what a release consists of, and tries it as a stranger would: `make dist`.

`dist/` gets a source distribution and a wheel for each interpreter that is found. Each wheel is
installed where there is no Rust, and the tests run on it from a folder without the package's
sources; the source distribution is installed from itself alone.

Arguments are passed to pytest, to run a part of the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"

#: What a wheel may contain.
EXPECTED = re.compile(
    r"yamanote/(\w+/)*\w+\.py(i)?"
    r"|yamanote/py\.typed"
    r"|yamanote/include/yamanote\.h"
    r"|yamanote/_yamanote\.[\w.-]+\.so"
    r"|yamanote-[\w.]+\.dist-info/(METADATA|RECORD|WHEEL|entry_points\.txt)"
    r"|yamanote-[\w.]+\.dist-info/licenses/(LICENSE(-MIT|-APACHE)?|THIRD-PARTY-LICENSES\.txt)"
    r"|yamanote-[\w.]+\.dist-info/sboms/[\w.-]+\.cyclonedx\.json"
)
#: What it must contain.
REQUIRED = ("yamanote/py.typed", "yamanote/_yamanote.pyi", "yamanote/include/yamanote.h")

#: What the tests need, besides the package.
BESIDE = ("tests", "examples", "benches", "docs", "client", "packaging")

#: Read the sources of the package, which are not there.
OF_SOURCES = ("tests/test_architecture.py", "tests/databases", "tests/conformance")

#: For the source distribution, which is the same code as the wheels.
SAMPLE = ("tests/test_scheduling.py", "tests/test_exports.py", "tests/tcp/test_transport.py")


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n==> {text}", flush=True)


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run a command; end with its exit code if it fails."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"failed with exit code {done.returncode}: {' '.join(map(str, command))}")


def interpreters() -> dict[str, str]:
    """Return the interpreters of this machine by their versions."""
    found = subprocess.run(
        [ROOT / "packaging" / "interpreters"], check=True, capture_output=True, text=True
    )
    return dict(line.split(maxsplit=1) for line in found.stdout.splitlines())


def without_rust() -> dict[str, str]:
    """Return an environment in which no Rust toolchain is found."""
    folders = os.environ["PATH"].split(os.pathsep)
    folders = [it for it in folders if not any((Path(it) / name).exists() for name in TOOLS)]
    path = os.pathsep.join(folders)
    if found := [name for name in TOOLS if shutil.which(name, path=path)]:
        raise SystemExit(f"still found: {found}")
    # maturin would download a toolchain.
    return {**os.environ, "PATH": path, "MATURIN_NO_INSTALL_RUST": "1"}


TOOLS = ("cargo", "rustc", "rustup", "maturin")


def build(python: str, manifest: Path, out: Path, *options: str) -> Path:
    """Build a wheel; return its file."""
    before = set(out.glob("*.whl"))
    command = (sys.executable, "-m", "maturin", "build", "--interpreter", python)
    run(*command, "--locked", "--manifest-path", manifest, "--out", out, *options)
    (wheel,) = set(out.glob("*.whl")) - before
    return wheel


def inspect(wheel: Path) -> None:
    """Fail if a wheel has a file that it should not have, or misses one; print its size."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    if stray := [name for name in names if not EXPECTED.fullmatch(name)]:
        raise SystemExit(f"{wheel.name} contains {stray}")
    missing = [name for name in REQUIRED if name not in names]
    missing += [ending for ending in (".so", "LICENSE-MIT", "LICENSE-APACHE", "LICENSES.txt")
                if not any(name.endswith(ending) for name in names)]  # fmt: skip
    if missing:
        raise SystemExit(f"{wheel.name} lacks {missing}")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.2f} MB")
    run(sys.executable, "-m", "auditwheel", "show", wheel)


def fresh(python: str, folder: Path) -> Path:
    """Make an environment; return its interpreter."""
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def try_wheel(python: str, wheel: Path, folder: Path, chosen: list[str]) -> None:
    """Install a wheel without Rust, and run the tests on it without the sources."""
    inside = fresh(python, folder / "venv")
    env = without_rust()
    run(inside, "-m", "pip", "install", "--quiet", "--no-index", wheel, env=env, cwd=folder)
    run(inside, "-c", HELLO, env=env, cwd=folder)
    run(inside, "-m", "pip", "install", "--quiet", "-r", ROOT / "tests/requirements.txt")
    testing = build(python, ROOT / "tests/rust_extension/Cargo.toml", folder, "--profile", "quick")
    run(inside, "-m", "pip", "install", "--quiet", "--no-deps", testing)
    tree = folder / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z", *BESIDE, "*.md", "*.toml", "LICENSE*", "Makefile", "src", ".ci"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    ignored = [f"--ignore={path}" for path in OF_SOURCES]
    run(inside, "-m", "pytest", "-q", *ignored, *(chosen or ["tests"]), cwd=tree)


def try_sdist(python: str, archive: Path, folder: Path) -> None:
    """Install the source distribution where there is nothing else, and run a part of the tests."""
    inside = fresh(python, folder / "venv")
    run(inside, "-m", "pip", "install", "--no-deps", archive, cwd=folder)
    run(inside, "-c", HELLO, cwd=folder)
    run(inside, "-m", "pip", "install", "--quiet", "-r", ROOT / "tests/requirements.txt")
    with tarfile.open(archive) as packed:
        if stray := [name for name in packed.getnames() if "/target/" in name or "/.venv" in name]:
            raise SystemExit(f"{archive.name} contains {stray}")
    tree = folder / "tree"
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tree)
    run(inside, "-m", "pytest", "-q", *SAMPLE, cwd=tree)


HELLO = """
import asyncio, os, yamanote
async def main():
    await asyncio.sleep(0)
    return type(asyncio.get_running_loop()).__module__.split(".")[0]
assert yamanote.run(main()) == "yamanote"
assert os.path.exists(os.path.join(yamanote.get_include(), "yamanote.h"))
print("yamanote", yamanote.__version__, "runs from", os.path.dirname(yamanote.__file__))
"""


def main() -> None:
    """Build everything, check it, and try it."""
    began = time.monotonic()
    chosen = sys.argv[1:]
    say("what is linked in, and its licences")
    run(sys.executable, "packaging/notices.py", "--check")
    shutil.rmtree(DIST, ignore_errors=True)
    say("the source distribution")
    run(sys.executable, "-m", "maturin", "sdist", "--out", DIST)
    (archive,) = DIST.glob("*.tar.gz")
    found = interpreters()
    wheels: dict[str, Path] = {}
    for version, python in found.items():
        say(f"a wheel for {version}: {python}")
        wheels[version] = build(python, ROOT / "Cargo.toml", DIST, "--release")
        inspect(wheels[version])
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    say("the crate for extensions, and its documentation")
    run("cargo", "package", "--package", "yamanote-client", "--allow-dirty", "--locked")
    documented = {**os.environ, "RUSTDOCFLAGS": "-D warnings"}
    run("cargo", "doc", "--package", "yamanote-client", "--no-deps", "--locked", env=documented)
    for version, wheel in wheels.items():
        say(f"{wheel.name}, without Rust and without the sources")
        with tempfile.TemporaryDirectory(prefix="yamanote-dist-") as folder:
            try_wheel(found[version], wheel, Path(folder), chosen)
    say(f"{archive.name}, alone")
    with tempfile.TemporaryDirectory(prefix="yamanote-dist-") as folder:
        try_sdist(next(iter(found.values())), archive, Path(folder))
    say(f"all is in {DIST}, after {(time.monotonic() - began) / 60:.0f} minutes")
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size / 1e6:6.2f} MB  {path.name}")


if __name__ == "__main__":
    main()
