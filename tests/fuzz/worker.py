"""The child that runs programs, controlled by JSON lines.

It announces each program before it starts it, so that its parent knows where it died.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import logging
import os
import re
import resource
import shutil
import sys
import tempfile
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.fuzz.compare import Failure, failures
from tests.fuzz.generator import Choice, generate
from tests.fuzz.program import Program, parse
from tests.fuzz.run import execute

#: The worker's own descriptors start at this number.
PRIVATE_FD = 200

MOST_DESCRIPTORS = 400

#: The limit of memory that a program may map: huge sizes fail, as on a small machine.
MOST_MEMORY = 6 * 2**30

#: Patterns for the panics of Rust and fatal errors of the interpreter.
LAST_WORDS = re.compile(r"panicked at|Fatal Python error|SystemError:|PanicException:")


class Worker:
    """Runs programs on asyncio and on the loop under test, one after the other."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Store the configuration.

        Args:
            job: the loop under test, the directory with certificates, the surfaces.
        """
        self._loop: str = job["loop"]
        files: str = job["files"]
        self._certificates = Path(files)
        self._folder = Path(tempfile.mkdtemp(dir=files))
        # Programs create files with names of any kind.
        os.chdir(self._folder)
        self._patience_s: float = job["patience_s"]
        self._choice = Choice.of(job["only"], job["without"])
        self._errors_seen = 0

    def run(self, name: str, program: Program) -> None:
        """Runs a program, and reports the result."""
        theirs = None
        if not program.wild:
            say(begins=name, loop="asyncio")
            theirs = self._guarded(program, "asyncio")
        say(begins=name, loop=self._loop)
        ours = self._guarded(program, self._loop)
        found = failures(program, theirs, ours)
        if found:
            # Checked only now, for speed: most programs have nothing to excuse. Also, objects
            # created once per process, such as an extension's threads, do not count as leaks.
            say(begins=name, loop="asyncio")
            theirs = self._guarded(program, "asyncio")
            say(begins=name, loop=self._loop)
            found = failures(program, theirs, self._guarded(program, self._loop))
        if words := self._last_words():
            found.append(Failure("panic", words.splitlines()[0], words))
        say(
            ended=name,
            calls=ours.calls,
            outcomes=sum(map(len, ours.outcomes.values())),
            failures=[asdict(failure) for failure in found],
        )

    def run_apart(self, program: Program) -> None:
        """Runs a program in a forked child, so that a crash does not end the worker."""
        child = os.fork()
        if not child:
            code = 70
            try:
                self.run("the program", program)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self._errors_seen = os.fstat(2).st_size
        self._empty_folder()
        if code:
            say(died=code)

    def generate(self, seed: int) -> Program:
        """Returns the program of a seed."""
        return generate(seed, self._choice)

    def _guarded(self, program: Program, loop: str) -> Any:  # noqa: ANN401 - a record.
        faulthandler.dump_traceback_later(self._patience_s, exit=True)
        try:
            return execute(program, loop, self._certificates, self._patience_s)
        finally:
            self._empty_folder()
            faulthandler.cancel_dump_traceback_later()

    def _empty_folder(self) -> None:
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _last_words(self) -> str:
        """Returns the stderr output since the last call, if it is about a panic."""
        sys.stderr.flush()
        size = os.fstat(2).st_size
        with open("/proc/self/fd/2", encoding="utf-8", errors="replace") as errors:
            errors.seek(self._errors_seen)
            text = errors.read()
        self._errors_seen = size
        match = LAST_WORDS.search(text)
        return text[match.start() :][:2000] if match else ""


def say(**message: object) -> None:
    """Sends an outcome to the parent."""
    os.write(PRIVATE_FD, json.dumps(message).encode() + b"\n")


def main() -> None:
    """Runs what the parent requests until the input ends."""
    commands = os.fdopen(os.dup2(0, PRIVATE_FD + 1), encoding="utf-8")
    os.dup2(1, PRIVATE_FD)
    with open(os.devnull, "r+b") as null:
        os.dup2(null.fileno(), 0)
        os.dup2(null.fileno(), 1)
    faulthandler.enable()
    for what, value in (
        (resource.RLIMIT_NOFILE, MOST_DESCRIPTORS),
        (resource.RLIMIT_AS, MOST_MEMORY),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (value, resource.getrlimit(what)[1]))
    logging.getLogger("asyncio").propagate = False
    worker = Worker(json.loads(commands.readline()))
    asyncio.new_event_loop().close()
    gc.collect()
    gc.freeze()
    for line in commands:
        command = json.loads(line)
        if "program" in command:
            worker.run_apart(parse(command["program"]))
        else:
            for seed in range(command["first"], command["last"] + 1):
                worker.run(str(seed), worker.generate(seed))
        say(idle=True)


if __name__ == "__main__":
    main()
