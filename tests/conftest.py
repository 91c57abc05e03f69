"""What several of these tests need: a page's Python, run as a reader would."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunPage = Callable[[Path, str], tuple[dict[str, Any], Path]]


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> RunPage:
    """Run all Python blocks of a page in one module, whose name is given, and one empty folder.

    It gives what the blocks have named, and the folder.
    """

    def run(page: Path, module: str) -> tuple[dict[str, Any], Path]:
        folder = tmp_path_factory.mktemp(module)
        names: dict[str, Any] = {"__name__": module}
        blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        assert blocks, f"{page} has no Python"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("DDETR_CACHE", str(folder / "cache"))
            for number, block in enumerate(blocks, start=1):
                exec(compile(block, f"{page.name}, block {number}", "exec"), names)
        return names, folder

    return run
