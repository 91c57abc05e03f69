"""What several of these tests need: a page's code, run as a reader would."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RunPage = Callable[..., tuple[dict[str, Any], Path]]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ELSEWHERE = "# needs "  # the first line of a block that this machine cannot run


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> RunPage:
    """Run a page's Python in one module, whose name is given, and its commands, in one folder.

    The folder is empty unless one is given. Words of a page that stand for a reader's own folders
    are exchanged for those of `instead`. It gives what the blocks have named, and the folder.
    """

    def run(
        page: Path, module: str, folder: Path | None = None, instead: dict[str, str] | None = None
    ) -> tuple[dict[str, Any], Path]:
        folder = folder or tmp_path_factory.mktemp(module)
        names: dict[str, Any] = {"__name__": module}
        text = page.read_text("utf-8")
        for word, own in (instead or {}).items():
            text = text.replace(word, own)
        blocks = BLOCK.findall(text)
        assert blocks, f"{page} has no code"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("DDETR_CACHE", str(folder / "cache"))
            for number, (language, block) in enumerate(blocks, start=1):
                if language == "sh":
                    run_commands(block, f"{page.name}, block {number}")
                else:
                    exec(compile(block, f"{page.name}, block {number}", "exec"), names)
        return names, folder

    return run


def run_commands(block: str, where: str) -> None:
    """Run lines of `ddetr` in this process, up to a pipe; none of a block that says what it needs.

    The spec that `init` writes would train for hours: a small one that is there stays.
    """
    from ddetr_cli.app import main

    lines = block.replace("\\\n", " ").splitlines()
    for line in [] if block.startswith(ELSEWHERE) else lines:
        program, *words = shlex.split(line.partition(" | ")[0], comments=True)
        assert program == "ddetr", f"{where}: {line}"
        ending = pytest.raises(SystemExit)
        with kept(Path("spec.yaml"), words[0] == "init"), ending as ended:
            main(words)
        assert ended.value.code == 0 or (words[0], ended.value.code) == ("check", 1), line


@contextlib.contextmanager
def kept(path: Path, is_rewritten: bool) -> Iterator[None]:
    """Let a file that is there be written anew, and bring back what it was."""
    before = path.read_text("utf-8") if is_rewritten and path.exists() else None
    if before is not None:
        path.unlink()
    yield
    if before is not None:
        assert path.exists()
        path.write_text(before, "utf-8")
