"""`python -m yamanote`: each program runs as with `python`, on yamanote's loop."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

import yamanote
from yamanote import __main__ as main_module
from yamanote import _bench
from yamanote.__main__ import UsageError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "yamanote")
LOOP = "type(asyncio.get_running_loop()).__module__.split('.')[0]"


def run(
    *command: str, cwd: Path | None = None, text: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end and returns its output."""
    return subprocess.run(
        command,
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


def write(folder: Path, name: str, code: str) -> str:
    """Writes a script and returns its path."""
    path = folder / name
    path.write_text(textwrap.dedent(code))
    return str(path)


def test_a_script_runs_on_yamanote(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        "script.py",
        f"""
        import asyncio
        async def main():
            print({LOOP}, isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop))
        asyncio.run(main())
        """,
    )
    ran = run(*COMMAND, script)
    assert (ran.stdout.split()[0], ran.stderr) == ("yamanote", "")
    assert run(sys.executable, script).stdout.split()[0] == "asyncio"


@pytest.mark.parametrize(
    "make",
    [
        "asyncio.new_event_loop()",
        "asyncio.SelectorEventLoop()",
        "asyncio.SelectorEventLoop(None)",
        "asyncio.Runner().get_loop()",
        "asyncio.DefaultEventLoopPolicy().new_event_loop()",
        "__import__('selectors') and asyncio.unix_events.SelectorEventLoop()",
        pytest.param(
            "asyncio.EventLoop()",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 13), reason="asyncio has had the name since Python 3.13"
            ),
        ),
    ],
)
def test_every_way_to_asyncios_loop_leads_to_yamanote(make: str) -> None:
    code = f"""
import asyncio, yamanote, warnings
warnings.simplefilter("ignore")
loop = {make}
print(isinstance(loop, yamanote.Loop), loop.run_until_complete(asyncio.sleep(0, 7)))
loop.close()
"""
    assert run(*COMMAND, "-c", code).stdout == "True 7\n"


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
def test_every_way_to_uvloop_leads_to_yamanote() -> None:
    code = """
import asyncio, uvloop, warnings, yamanote
warnings.simplefilter("ignore")
async def main():
    print(isinstance(asyncio.get_running_loop(), yamanote.Loop))
uvloop.run(main())
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
loop = uvloop.Loop()
loop.run_until_complete(main())
loop.close()
uvloop.install()
asyncio.run(main())
"""
    ran = run(*COMMAND, "--verbose", "-c", code)
    assert ran.stdout == "True\n" * 4
    assert ran.stderr.splitlines() == [
        "yamanote: replaced the event loop of asyncio",
        "yamanote: replaced the event loop of uvloop",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "import yamanote; print(yamanote.run.__name__)",
        "import yamanote.fs; print('run')",
        "from yamanote import run; print(run.__name__)",
    ],
)
def test_a_program_may_import_yamanote_first(code: str) -> None:
    ran = run(*COMMAND, "-c", code)
    assert (ran.stdout, ran.stderr) == ("run\n", "")


def test_the_class_of_the_loops_is_one_that_can_be_named_and_pickled(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        "script.py",
        """
        import asyncio, pickle, yamanote
        loop = asyncio.new_event_loop()
        print(isinstance(loop, asyncio.SelectorEventLoop), type(loop).__name__)
        loop.close()
        print(pickle.loads(pickle.dumps(asyncio.SelectorEventLoop)) is asyncio.SelectorEventLoop)
        print(getattr(asyncio, "EventLoop", asyncio.SelectorEventLoop) is type(loop))
        """,
    )
    ran = run(*COMMAND, script)
    assert ran.stdout.split() == ["True", "SelectorEventLoop", "True", "True"]


def test_an_interpreter_without_yamanote_keeps_its_loops() -> None:
    """A child may have another environment."""
    code = "import sys; sys.modules['yamanote'] = None; import asyncio; print(asyncio.__name__)"
    ran = run(*COMMAND, "-c", code)
    assert (ran.stdout, ran.stderr) == ("asyncio\n", "")
    ran = run(*COMMAND, "--verbose", "-c", code)
    assert ran.stdout == "asyncio\n"
    assert ran.stderr.startswith("yamanote: this interpreter keeps its loops: No module named")


def test_asyncio_that_was_imported_before_the_program_is_replaced_too(tmp_path: Path) -> None:
    write(tmp_path, "sitecustomize.py", "import asyncio")
    code = "import asyncio, yamanote; print(issubclass(asyncio.SelectorEventLoop, yamanote.Loop))"
    assert run(*COMMAND, "-c", code, PYTHONPATH=str(tmp_path)).stdout == "True\n"


@pytest.mark.parametrize("spelling", [("-m", "yamanote.__main__"), (main_module.__file__,)])
def test_other_ways_to_start_the_command_are_refused(spelling: Sequence[str]) -> None:
    ran = run(sys.executable, *spelling, "-c", "print(1)")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "run it as `python -m yamanote`" in ran.stderr


#: What a program can see of how it was started.
LOOKING = """
import pickle, sys
import asyncio
class Mine: pass
print(sys.argv, sys.path[0], __name__, __file__ if "__file__" in globals() else None)
print(__spec__ and __spec__.name, __package__, sys.modules["__main__"].__dict__ is globals())
print(pickle.loads(pickle.dumps(Mine())).__class__ is Mine, sys.flags.dev_mode)
print(asyncio.__loader__.__class__.__name__, asyncio.__spec__.loader.__class__.__name__)
print(sorted(name for name in sys.modules if "sitecustomize" in name))
"""


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("script", ("-X", "dev")),
        ("module", ()),
        ("module", ("-P",)),
        ("package", ()),
        ("code", ()),
        ("stdin", ()),
    ],
    ids=str,
)
def test_a_program_sees_what_it_sees_without(
    tmp_path: Path, way: str, options: tuple[str, ...]
) -> None:
    write(tmp_path, "looking.py", LOOKING)
    (tmp_path / "package").mkdir()
    write(tmp_path / "package", "__main__.py", LOOKING)
    write(tmp_path / "package", "__init__.py", "")
    program = {
        "script": ["looking.py"],
        "module": ["-m", "looking"],
        "package": ["-m", "package"],
        "code": ["-c", LOOKING],
        "stdin": ["-"],
    }[way]
    # With -P, the module is found elsewhere than in the current folder.
    environment = {"PYTHONPATH": str(tmp_path)} if "-P" in options else {}
    arguments = [*program, "one", "--metrics", "-m", "yamanote"]
    usual, ours = (
        run(*command, *arguments, cwd=tmp_path, text=LOOKING, **environment)
        for command in ((sys.executable, *options), (sys.executable, *options, "-m", "yamanote"))
    )
    assert usual.returncode == 0, usual.stderr
    assert without_sitecustomize(ours.stdout) == without_sitecustomize(usual.stdout)
    assert ours.stderr == usual.stderr


def without_sitecustomize(output: str) -> str:
    """Removes the line on it: only the command's environment is sure to have one."""
    return "\n".join(output.splitlines()[:-1])


@pytest.mark.parametrize("spelling", [("-bm", "yamanote"), ("-myamanote",), ("-bmyamanote",)])
def test_options_of_the_interpreter_are_kept(spelling: Sequence[str]) -> None:
    code = "import sys; print(sys.flags.bytes_warning)"
    ran = run(sys.executable, *spelling, "-c", code)
    assert ran.stdout == ("0\n" if spelling == ("-myamanote",) else "1\n")


FAILURES = {
    "an exception": "def f(): raise ZeroDivisionError('zero')\nf()",
    "an exit code": "import sys; sys.exit(7)",
    "a text": "import sys; sys.exit('good bye')",
    "an interruption": "raise KeyboardInterrupt",
    "a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "a syntax error": "def f(:",
}


@pytest.mark.parametrize("code", FAILURES.values(), ids=FAILURES)
def test_a_program_ends_as_it_ends_without(tmp_path: Path, code: str) -> None:
    script = write(tmp_path, "script.py", code)
    usual, ours = run(sys.executable, script), run(*COMMAND, script)
    assert ours.returncode == usual.returncode
    assert ours.stderr == usual.stderr


def test_a_missing_script_is_reported_as_without() -> None:
    usual, ours = (run(*command, "missing.py") for command in ((sys.executable,), COMMAND))
    assert (ours.returncode, ours.stderr) == (usual.returncode, usual.stderr)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_children_of_multiprocessing_run_on_yamanote(tmp_path: Path, method: str) -> None:
    script = write(
        tmp_path,
        "script.py",
        f"""
        import asyncio, multiprocessing
        async def main():
            return {LOOP}
        def work(_):
            return asyncio.run(main())
        if __name__ == "__main__":
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                print(pool.map(work, range(2)), asyncio.run(main()))
        """,
    )
    ran = run(*COMMAND, "--metrics", script)
    assert ran.stdout == "['yamanote', 'yamanote'] yamanote\n"
    assert ran.stderr.count("yamanote: 1 event loop\n") == 1


def test_a_program_that_does_not_use_asyncio_does_not_import_it() -> None:
    ran = run(*COMMAND, "--verbose", "-c", "import sys; print('asyncio' in sys.modules)")
    assert (ran.stdout, ran.stderr) == ("False\n", "")


def test_the_environments_own_sitecustomize_runs(tmp_path: Path) -> None:
    write(tmp_path, "sitecustomize.py", "import sys; sys.seen = __file__")
    code = "import sys, sitecustomize; print(sys.seen == sitecustomize.__file__)"
    ran = run(*COMMAND, "-c", code, PYTHONPATH=str(tmp_path))
    assert (ran.stdout, ran.stderr) == ("True\n", "")


def test_an_error_in_the_environments_own_sitecustomize_is_told(tmp_path: Path) -> None:
    write(tmp_path, "sitecustomize.py", "import a_missing_module")
    ran = run(*COMMAND, "-c", "print(1)", PYTHONPATH=str(tmp_path))
    assert ran.stdout == "1\n"
    assert "a_missing_module" in ran.stderr


def test_metrics_are_a_table_of_all_loops_at_the_end() -> None:
    code = """
import asyncio
for _ in range(2):
    asyncio.run(asyncio.sleep(0.001))
left_open = asyncio.new_event_loop()
left_open.run_until_complete(asyncio.sleep(0.001))
import os, sys, yamanote
yamanote.run(asyncio.sleep(0.001))
if os.fork() == 0:
    sys.exit()
os.wait()
"""
    ran = run(*COMMAND, "--metrics", "-c", code)
    lines = ran.stderr.splitlines()
    assert lines[0] == "yamanote: 4 event loops"
    table = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    assert table["timers_fired"] == "4"
    assert table["busy"].endswith(" s")
    assert table["turn_durations"].startswith("50 % < ")
    assert list(table) == [field.name for field in dataclasses.fields(yamanote.LoopMetrics)]


def test_keep_tasks_logs_what_is_pending_at_the_end() -> None:
    code = """
import asyncio
async def lost():
    await asyncio.get_running_loop().create_future()
loop = asyncio.new_event_loop()
loop.create_task(lost(), name="mine")
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""
    ran = run(*COMMAND, "--keep-tasks", "-c", code)
    first, second = ran.stderr.splitlines()
    assert first == "1 task(s) were pending when the event loop was closed:"
    assert second.startswith("  mine: lost, defined at <string>:")


def test_debug_is_asyncios_debug_mode() -> None:
    code = "import asyncio; loop = asyncio.new_event_loop(); print(loop.get_debug()); loop.close()"
    assert run(*COMMAND, "--debug", "-c", code).stdout == "True\n"


def test_bench_measures_every_loop_and_survives_one_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_bench, "LOOPS", ("asyncio", "yamanote", "json"))
    monkeypatch.setattr(_bench, "ROUNDS", 1)
    _bench.main()
    out, err = capsys.readouterr()
    _, head, *rows = out.splitlines()
    assert head.split() == ["asyncio", "yamanote"]
    assert [row.split()[0] for row in rows] == [work.__name__ for work in _bench.WORKLOADS]
    assert all(row.endswith("(1.00)") for row in rows)
    assert err.splitlines()[-1] == "json failed"


def test_the_version_names_what_it_is_made_of() -> None:
    ran = run(*COMMAND, "--version")
    first, tokio, openssl, *_ = ran.stdout.splitlines()
    assert first == f"yamanote {yamanote.__version__}"
    assert tokio.startswith("tokio 1.")
    assert "SSL" in openssl


@pytest.mark.parametrize("arguments", [[], ["--debug"], ["--unknown", "x.py"]], ids=str)
def test_a_wrong_command_is_explained(arguments: list[str]) -> None:
    ran = run(*COMMAND, *arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith("yamanote: ")
    assert "usage: python -m yamanote" in ran.stderr
    with pytest.raises(UsageError):
        parse(arguments)


@pytest.mark.parametrize("option", ["-E", "-I", "-S"])
def test_an_interpreter_that_ignores_the_environment_is_refused(option: str) -> None:
    ran = run(sys.executable, option, "-m", "yamanote", "-c", "print(1)")
    assert ran.stdout == ""
    assert ran.returncode != 0


def test_pytest_runs_on_yamanote(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_it.py",
        f"""
        import asyncio
        def test_it():
            async def main():
                assert {LOOP} == "yamanote"
            asyncio.run(main())
        """,
    )
    ran = run(*COMMAND, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "1 passed" in ran.stdout, ran.stdout
