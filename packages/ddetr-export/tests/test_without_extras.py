"""The package as it is installed without an extra: ONNX Runtime is all that runs a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from ddetr_export.onnx import seal, write_model

ABSENT = ("onnx", "onnxscript", "google", "torch", "torchvision", "ddetr_model", "ddetr_ops")
HIDDEN = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n"
Python = Callable[[str], str]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Run code where nothing of an extra can be imported; gives what it writes."""

    def run(code: str) -> str:
        command = [sys.executable, "-c", HIDDEN + code]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def test_a_file_is_detected_with(toy_onnx, python: Python) -> None:
    """Its metadata, digest and answers come without ONNX."""
    written = python(
        "import numpy, ddetr_export\n"
        f"detector = ddetr_export.open_detector({str(toy_onnx())!r})\n"
        "found = detector.predict([numpy.zeros((20, 20, 3), numpy.uint8)])[0]\n"
        "print(len(found), [each.name for each in detector.categories])\n"
    )
    assert written == "4 ['red cell', 'platelet']\n"


def test_an_encrypted_file_too(toy_onnx, tmp_path: Path, python: Python) -> None:
    """It is decrypted in memory, and read there."""
    pytest.importorskip("cryptography")
    write_model(tmp_path / "model.onnx.enc", toy_onnx().read_bytes(), "open-sesame")
    written = python(
        "import ddetr_export\n"
        "detector = ddetr_export.open_detector('model.onnx.enc', encryption_key='open-sesame')\n"
        "print(detector.description)\n"
    )
    assert written.startswith("model.onnx.enc runs on CPUExecutionProvider")


def test_damage_is_found_all_the_same(toy_onnx, python: Python) -> None:
    """A changed byte, and what is no ONNX file."""
    path = toy_onnx()
    content = bytearray(seal(onnx.load(path)).SerializeToString())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    written = python(
        "import pathlib, ddetr_export\n"
        "pathlib.Path('text.onnx').write_text('no model')\n"
        f"for path in ({str(path)!r}, 'text.onnx'):\n"
        "    try:\n"
        "        ddetr_export.open_detector(path)\n"
        "    except ValueError as error:\n"
        "        print(str(error).splitlines()[0])\n"
    )
    damaged, text = written.splitlines()
    assert "is damaged: its bytes are not those of its SHA-256" in damaged
    assert "text.onnx" in text


def test_it_is_served(toy_onnx, python: Python) -> None:
    """The application answers an image."""
    for name in ("fastapi", "httpx"):
        pytest.importorskip(name)
    written = python(
        "import io\n"
        "from fastapi.testclient import TestClient\n"
        "from PIL import Image\n"
        "import ddetr_export\n"
        f"app = ddetr_export.create_app(ddetr_export.open_detector({str(toy_onnx())!r}))\n"
        "file = io.BytesIO()\n"
        "Image.new('RGB', (40, 30)).save(file, 'PNG')\n"
        "with TestClient(app, base_url='http://127.0.0.1') as client:\n"
        "    answer = client.post('/predict', content=file.getvalue())\n"
        "    print(answer.status_code)\n"
    )
    assert written == "200\n"


@pytest.mark.parametrize("name", ["build_engine", "export_onnx", "prepare_export", "to_standard"])
def test_what_needs_an_extra_asks_for_it(name: str, python: Python) -> None:
    """One sentence, and no traceback of an import."""
    written = python(
        "try:\n"
        f"    from ddetr_export import {name}\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    assert written.startswith(f"{name} needs ")
    assert written.endswith("which is not installed: pip install 'ddetr-export[torch]'\n")
