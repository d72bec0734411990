"""`yamanote.fs`, which works on every loop."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker("wait(fs.open(file().name[, {mode}][, buffering={number}]))", "asyncfile", waits=True),
    *calls(
        "{asyncfile}.read([{limit}])",
        "{asyncfile}.readline([{limit}])",
        "{asyncfile}.readlines([{limit}])",
        "{asyncfile}.readinto({buffer})",
        "{asyncfile}.write({buffer})",
        "{asyncfile}.seek({number}[, {number}])",
        "{asyncfile}.tell()",
        "{asyncfile}.close()",
        "{asyncfile}.closed",
        "{asyncfile}.fileno()",
        "wait(fs.open({path}))",
        "fs.read_bytes({path})",
        "fs.read_text({path}[, encoding={any}])",
        "fs.write_bytes({path}, {buffer})",
        "fs.write_text({path}, {any})",
        "fs.stat({path})",
        "fs.exists({path})",
        "fs.listdir({path})",
        "fs.remove({path})",
        "fs.mkdir({path})",
        "fs.rename({path}, {path})",
        waits=True,
    ),
)
