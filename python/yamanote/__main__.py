"""`python -m yamanote`: runs any program on yamanote's event loop without changing it.

    python -m yamanote [options] script.py [arguments]
    python -m yamanote [options] -m module [arguments]
    python -m yamanote [options] -c code [arguments]
    python -m yamanote bench

The command becomes the interpreter that would have run the program, with one folder more on
`PYTHONPATH`: what is in it replaces the loops of asyncio and uvloop when the program, or a child
of it, imports them.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from yamanote._replacing import OPTIONS
from yamanote._yamanote import __version__, _calls_openssl, _tokio_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = """\
usage: python -m yamanote [options] script.py [arguments]
       python -m yamanote [options] -m module [arguments]
       python -m yamanote [options] -c code [arguments]
       python -m yamanote bench

Runs the program with yamanote's event loop in place of asyncio's and uvloop's; `bench` compares
the loops that can be imported here, in half a minute.

options:
  --debug       asyncio's debug mode
  --keep-tasks  hold every task until it is done, and log those that are pending at the end
  --metrics     a table of what the loops have done, on stderr when the program ends
  --origins[=N] remember the line that created each task and handle, or N lines
  --trace FILE  record what the loops do when, for https://ui.perfetto.dev
  --verbose     say on stderr what was replaced
  --watch[=S]   log every stall of a loop that takes S seconds or more, 0.1 if not said
  --version     the version of yamanote and of what it is made of
  --help        this text

examples:
  python -m yamanote app.py
  python -m yamanote -m uvicorn app:app
  python -m yamanote --watch -m fastapi run main.py

In a program of your own, yamanote.run(main()) is in place of asyncio.run(main()).
"""

KNOWN = frozenset({"--debug", "--keep-tasks", "--metrics", "--verbose", "--version", "--help"})
#: Options with a value, and the environment variable that gets it; the value if none is given.
VARIABLES: dict[str, tuple[str, str | None]] = {
    "--origins": ("YAMANOTE_ORIGINS", "1"),
    "--trace": ("YAMANOTE_TRACE", None),
    "--watch": ("YAMANOTE_WATCH", "0.1"),
}


class UsageError(Exception):
    """The command line is wrong."""


def parse(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split the command's arguments into its options and the program with its arguments.

    Returns:
        The options with their values, "" for one without; and the rest.

    Raises:
        UsageError: an option is unknown or has no value, or there is no program.
    """
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest[0]
        if not argument.startswith("-") or argument == "-" or argument[:2] in ("-m", "-c"):
            return options, rest
        del rest[0]
        option, equals, value = argument.partition("=")
        if option in VARIABLES:
            usual = VARIABLES[option][1]
            if not equals and usual is None:
                if not rest:
                    raise UsageError(f"{option} needs a value")
                value = rest.pop(0)
            options[option] = value if equals or usual is None else usual
            continue
        if argument == "-h":
            argument = "--help"
        if argument not in KNOWN:
            raise UsageError(f"unknown option {argument}")
        options[argument] = ""
    if options.keys() & {"--version", "--help"}:
        return options, []
    raise UsageError("name a program to run, or bench")


def interpreter_options() -> list[str]:
    """Return the options of the interpreter itself: those before `-m yamanote`.

    Raises:
        UsageError: the interpreter ignores `PYTHONPATH`.
    """
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise UsageError("does not work with the interpreter's options -E, -I and -S")
    before = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv[1:])]
    last = before.pop() if before else ""
    last = before.pop() if last == "yamanote" and before else last.removesuffix("yamanote")
    if not re.fullmatch("-[A-Za-z]*m", last):
        raise UsageError("run it as `python -m yamanote`")
    # `-m` may end a group of options: `-Bm`.
    rest = last.removesuffix("m")
    return before if rest == "-" else [*before, rest]


def environment(options: dict[str, str]) -> dict[str, str]:
    """Return the environment in which the program's interpreter replaces the loops."""
    tracing = sys.modules.get("yamanote._tracing")
    if tracing is not None:
        tracing.hand_over()
    environ = dict(os.environ)
    startup = str(Path(__file__).with_name("_startup"))
    others = environ.get("PYTHONPATH")
    environ["PYTHONPATH"] = os.pathsep.join([startup, others] if others else [startup])
    # The process keeps its number.
    kept = {
        "--keep-tasks": "keep-tasks",
        "--metrics": f"metrics={os.getpid()}",
        "--verbose": "verbose",
    }
    environ[OPTIONS] = ",".join(kept[option] for option in sorted(options.keys() & kept.keys()))
    for option in options.keys() & VARIABLES.keys():
        environ[VARIABLES[option][0]] = options[option]
    if "--debug" in options:
        environ["PYTHONASYNCIODEBUG"] = "1"
    return environ


def versions() -> str:
    """Return the versions of yamanote and of what it is made of, one in a line."""
    import platform
    import ssl

    way = "called directly" if _calls_openssl() else "through the module `_ssl`"
    lines = [
        f"yamanote {__version__}",
        f"tokio {_tokio_version}",
        f"{ssl.OPENSSL_VERSION}, {way}",
        f"{platform.python_implementation()} {sys.version.split()[0]}",
        f"{platform.system()} {platform.release()}, {platform.machine()}",
    ]
    return "\n".join(lines)


def main() -> NoReturn:
    """Become the interpreter that runs the program."""
    try:
        options, program = parse(sys.argv[1:])
        if "--help" in options:
            sys.exit(print(USAGE, end=""))
        if "--version" in options:
            sys.exit(print(versions()))
        if program == ["bench"]:
            from yamanote._bench import main as bench

            bench()
            sys.exit()
        command = [sys.executable, *interpreter_options(), *program]
    except UsageError as error:
        print(f"yamanote: {error}\n\n{USAGE}", end="", file=sys.stderr)
        sys.exit(2)
    os.execve(sys.executable, command, environment(options))


if __name__ == "__main__":
    main()
