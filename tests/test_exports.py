"""Is every public name exported, documented and typed, and is importing free of side effects?"""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests import programs
from yamanote import _yamanote

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(yamanote.__file__).parent

PUBLIC = {
    "EventLoopPolicy",
    "Histogram",
    "Limits",
    "Loop",
    "LoopMetrics",
    "Server",
    "Stall",
    "TaskInfo",
    "Trace",
    "Watch",
    "__version__",
    "dump",
    "get_include",
    "install",
    "new_event_loop",
    "run",
    "run_threads",
    "serve_until",
    "tasks",
    "trace",
    "watch",
}


def functions() -> list[Callable[..., object]]:
    """The Python code of the package: its functions, and the methods that it adds to `Loop`."""
    mine: list[Callable[..., object]] = [yamanote.install, yamanote.new_event_loop, yamanote.run]
    for owner in (yamanote.EventLoopPolicy, *yamanote.Loop.__mro__):
        if owner.__module__.startswith("yamanote"):
            mine += [
                member
                for name, member in vars(owner).items()
                # Some methods are asyncio's own functions.
                if inspect.isfunction(member)
                and member.__module__.startswith("yamanote")
                and not name.startswith("_")
            ]
    return mine


def run_python(code: str, *options: str) -> str:
    """Returns what a new interpreter prints for `code`."""
    child = programs.run_python(*options, "-c", code)
    assert child.returncode == 0, child.stderr
    return child.stdout.strip()


def test_all_names_what_is_public() -> None:
    assert set(yamanote.__all__) == PUBLIC
    assert set(yamanote.__all__) <= set(dir(yamanote))
    stars: dict[str, object] = {}
    exec("from yamanote import *", stars)
    assert stars.keys() - {"__builtins__"} == PUBLIC


def test_what_the_loop_has_itself_hides_none_of_its_parts() -> None:
    """The native methods that are called most often are in `Loop` as well as in `Core`."""
    own = {name for name in vars(_yamanote.Core) if not name.startswith("__")} & vars(
        yamanote.Loop
    ).keys()
    assert {"call_soon", "create_task", "get_debug"} <= own
    assert "time" not in own
    bases = yamanote.Loop.__mro__
    for part in bases[1 : bases.index(_yamanote.Core)]:
        assert not own & vars(part).keys()


def test_a_mixin_and_a_patch_replace_what_the_loop_has_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mixin:
        def call_soon(self) -> str:
            return "mixin"

    class Mixed(Mixin, yamanote.Loop):  # type: ignore[misc]
        pass

    loop: Any = Mixed()
    assert loop.call_soon() == "mixin"
    assert loop.call_later(0, print) is not None
    loop.close()

    def patch(_: yamanote.Loop) -> str:
        return "patch"

    monkeypatch.setattr(yamanote.Loop, "call_later", patch)
    loop = yamanote.new_event_loop()
    assert loop.call_later() == "patch"
    loop.close()


def test_importing_leaves_what_only_some_programs_need_for_later() -> None:
    """Asyncio itself imports `ssl` and `subprocess`, and from Python 3.14 on not `typing`."""
    code = (
        "import sys, asyncio; before = set(sys.modules); import yamanote;"
        "print(*set(sys.modules) - before)"
    )
    imported = set(run_python(code).split())
    assert "yamanote._loop" in imported
    assert not imported & {
        "concurrent.futures.thread",
        "encodings.idna",
        "queue",
        "ssl",
        "subprocess",
        "typing",
        "yamanote._dns_threads",
        "yamanote._metrics",
        "yamanote._tasks",
        "yamanote._trace_file",
        "yamanote._tracing",
        "yamanote._policy",
        "yamanote.fs",
    }


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'yamanote' has no attribute 'Lopp'"):
        _ = yamanote.Lopp  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_is_documented(name: str) -> None:
    assert (vars(yamanote).get(name) or getattr(yamanote, name)).__doc__


def test_every_python_function_is_documented_and_annotated() -> None:
    bare: list[str] = []
    for function in functions():
        signature = inspect.signature(function)
        annotations = {name: each.annotation for name, each in signature.parameters.items()}
        annotations.pop("self", None)
        annotations["return"] = signature.return_annotation
        bare += [
            f"{function.__qualname__}: {name}"
            for name, annotation in annotations.items()
            if annotation is inspect.Parameter.empty
        ]
        if not function.__doc__:
            bare.append(f"{function.__qualname__}: no documentation")
    assert not bare, "\n".join(bare)


def test_the_stub_declares_what_the_native_module_exports() -> None:
    stub = ast.parse((PACKAGE / "_yamanote.pyi").read_text())
    declared: set[str] = set()
    for node in stub.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            declared.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            declared.add(node.target.id)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            assert set(ast.literal_eval(node.value)) == set(_yamanote.__all__)
    assert declared >= set(_yamanote.__all__)


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_metadata_has_the_version_and_no_runtime_dependency() -> None:
    metadata = importlib.metadata.metadata("yamanote")
    assert metadata["Version"] == yamanote.__version__
    assert metadata.get_all("Requires-Dist") is None
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"


# Everything in the standard library's modules, two levels deep: module attributes, and the
# attributes of their classes.
SNAPSHOT = """
import asyncio, selectors, signal, socket, ssl, sys, threading, types

def snapshot():
    seen = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in {"asyncio", "_asyncio", "selectors", "signal", "socket", "ssl",
                                  "_ssl", "threading"}:
            for key, value in vars(module).items():
                seen[name, key] = value
                if isinstance(value, type):
                    seen.update({(name, key, k): v for k, v in vars(value).items()})
    return seen

state = lambda: (signal.getsignal(signal.SIGINT), threading.active_count(), sys.excepthook,
                 sys.get_asyncgen_hooks(), signal.set_wakeup_fd(-1))
before, state_before = snapshot(), state()
import yamanote
after, state_after = snapshot(), state()
changed = [key for key in before if before[key] is not after.get(key)]
# A newly imported submodule is not a change.
added = [key for key in after.keys() - before.keys() if (key[0], "__name__") in before
         and not isinstance(after[key], types.ModuleType)]
print(changed, added, state_before == state_after)
"""


def test_importing_changes_nothing_in_the_standard_library() -> None:
    assert run_python(SNAPSHOT, "-W", "error") == "[] [] True"


def test_importing_leaves_the_policy_machinery_alone() -> None:
    code = "import sys, yamanote; print('yamanote._policy' in sys.modules)"
    assert run_python(code, "-W", "error") == "False"


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL"
)
def test_importing_leaves_the_gil_off() -> None:
    code = "import sys, yamanote; print(sys._is_gil_enabled())"
    assert run_python(code, "-W", "error") == "False"


def test_native_classes_make_no_instances() -> None:
    """An instance created without its Rust value would crash the interpreter."""
    classes: list[type[object]] = [
        _yamanote.Handle,
        _yamanote.SockCall,
        _yamanote.SocketTransport,
        _yamanote.StreamCall,
        _yamanote.TimerHandle,
    ]
    for cls in classes:
        with pytest.raises(TypeError, match="cannot create"):
            cls()
        with pytest.raises(TypeError):
            object.__new__(cls)
