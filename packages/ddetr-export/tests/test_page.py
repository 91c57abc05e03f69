"""The page to drop an image on, in a real browser."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddetr_export import open_detector

pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("websocket", reason="websocket-client is not installed")

from ddetr_export.serving import create_app  # noqa: E402


@pytest.fixture
def address(toy_onnx):
    """A server of the toy detector, in a thread."""
    app = create_app(open_detector(toy_onnx()), max_upload_mib=1)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(30)


@pytest.fixture
def browser(load_beside, tmp_path):
    chromium = load_beside("chromium")
    program = chromium.find_chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    browser = chromium.Browser(program, tmp_path / "profile")
    yield browser
    browser.close()


@pytest.fixture
def image_file(tmp_path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((300, 400, 3), 120, np.uint8)).save(path)
    return path


def shown(browser) -> list[tuple[str, float]]:
    """Class and score of each row of the page's list."""
    rows = browser.evaluate("[...document.querySelectorAll('#list li')].map(e => e.innerText)")
    return [(row.split("\n")[0], float(row.split("\n")[1])) for row in rows]


def test_a_dropped_image_gets_its_boxes(browser, address, toy_onnx, image_file) -> None:
    """The list has the detector's classes and scores, and boxes are painted into the image."""
    browser.open(address)
    browser.wait_for("document.getElementById('model').textContent.includes('toy.onnx')")
    browser.evaluate("document.getElementById('threshold').value = 0")
    position = browser.evaluate(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        "(document.getElementById('drop').getBoundingClientRect())"
    )
    browser.drop_file(image_file, *position)
    browser.wait_for("document.querySelectorAll('#list li').length > 0")
    (expected,) = open_detector(toy_onnx()).predict([image_file])
    names = {0: "class_0", 1: "red cell", 2: "platelet"}
    assert shown(browser) == [
        (names[int(label)], pytest.approx(float(score), abs=0.006))
        for label, score in zip(expected.labels, expected.scores, strict=True)
    ]
    assert "in 400 × 300 pixels" in browser.evaluate("document.getElementById('summary').innerText")
    grey = browser.evaluate(
        "(() => { const canvas = document.getElementById('canvas'); "
        "const data = canvas.getContext('2d').getImageData(0, 0, 400, 300).data; "
        "let grey = 0; for (let i = 0; i < data.length; i += 4) "
        "grey += data[i] === 120 && data[i + 1] === 120 && data[i + 2] === 120; "
        "return [canvas.width, canvas.height, grey]; })()"
    )
    assert grey[:2] == [400, 300]
    assert 1000 < grey[2] < 400 * 300 - 1000  # boxes and names cover a part of the image


def test_the_threshold_filters_without_asking_again(browser, address, image_file) -> None:
    """Moving the slider changes the list; the server is not asked."""
    browser.open(address)
    browser.evaluate("document.getElementById('threshold').value = 0")
    browser.choose_file(image_file, "#file")
    browser.wait_for("document.querySelectorAll('#list li').length > 0")
    scores = [score for _, score in shown(browser)]
    middle = (scores[0] + scores[-1]) / 2
    browser.evaluate(
        "window.fetch = () => { throw new Error('asked again') };"
        f"document.getElementById('threshold').value = {middle};"
        "document.getElementById('threshold').oninput()"
    )
    assert 0 < len(shown(browser)) < len(scores)


def test_a_refusal_is_shown_and_the_next_image_works(
    browser, address, image_file, tmp_path
) -> None:
    """What is no image gets the server's sentence; it goes away with the next one."""
    (tmp_path / "text.png").write_text("no image")
    browser.open(address)
    browser.choose_file(tmp_path / "text.png", "#file")
    error = "document.getElementById('error')"
    browser.wait_for(f"!{error}.hidden && {error}.textContent.includes('no image of a known kind')")
    browser.choose_file(image_file, "#file")
    browser.wait_for(f"{error}.hidden && !document.getElementById('canvas').hidden")
