"""The page to drop an image on, in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
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

NO_REQUESTS = "window.fetch = () => { throw new Error('asked again') }"
WITHOUT_NAME = """[...document.querySelectorAll("input, button, canvas, ul, pre")].filter(e =>
  !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map(e => e.id)"""


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


@pytest.fixture(scope="module")
def one_browser(load_beside, tmp_path_factory):
    chromium = load_beside("chromium")
    program = chromium.find_chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    browser = chromium.Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(one_browser):
    """The browser of all tests, with an empty page and nothing said."""
    one_browser.reset()
    return one_browser


@pytest.fixture
def image_file(tmp_path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((300, 400, 3), 120, np.uint8)).save(path)
    return path


def shown(browser) -> list[tuple[str, float]]:
    """Class and score of each row of the page's list."""
    rows = browser.evaluate("[...document.querySelectorAll('#list li')].map(e => e.innerText)")
    return [(row.split("\n")[0], float(row.split("\n")[1])) for row in rows]


def set_threshold(browser, value: float) -> None:
    browser.evaluate(
        f"by('threshold').value = {value}; by('threshold').dispatchEvent(new Event('input'))"
    )


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
    browser.evaluate(NO_REQUESTS)
    set_threshold(browser, middle)
    assert 0 < len(shown(browser)) < len(scores)
    assert browser.complaints == []


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


def test_classes_are_switched_and_curl_gets_what_is_shown(
    browser, address, image_file, tmp_path
) -> None:
    """Boxes to tick with counts; the line that is shown, run by a shell, has the same answer."""
    odd = image_file.rename(tmp_path / "it's a (new) image.png")
    browser.open(address)
    browser.evaluate("by('threshold').value = 0")
    browser.choose_file(odd, "#file")
    browser.wait_for("document.querySelectorAll('#switches input').length > 0")
    browser.evaluate(NO_REQUESTS)
    everything = shown(browser)
    for threshold, first_is_on in ((0, True), (everything[1][1], True), (0, False)):
        set_threshold(browser, threshold)
        if not first_is_on:
            browser.evaluate("document.querySelector('#switches input').click()")
        found = browser.evaluate("kept()")
        counts = browser.evaluate(
            "[...document.querySelectorAll('#switches b')].map(e => +e.innerText)"
        )
        assert sum(counts) >= len(found) > 0
        assert len(found) < len(everything) or (threshold == 0 and first_is_on)
        answered = run_curl(browser.evaluate("by('curl').textContent"), tmp_path)
        assert answered["detections"] == found
    browser.evaluate("by('none').click()")
    assert shown(browser) == []
    assert browser.evaluate("by('curl').textContent") == "No class is chosen."
    browser.evaluate("by('all').click()")
    assert shown(browser) == everything
    browser.evaluate("by('copy').click()")
    browser.wait_for("by('copied').textContent !== ''")
    assert browser.complaints == []


def run_curl(line: str, folder: Path) -> dict:
    """Run the line as a person would."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    ran = subprocess.run(
        f"{line} --silent", shell=True, cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


def test_the_page_is_for_phones_keyboards_and_readers(browser, address, image_file) -> None:
    """At 390 pixels nothing overflows; all has a name; keys move what a mouse moves."""
    browser.resize(390, is_phone=True)
    browser.open(address)
    assert browser.overflow() == []
    browser.choose_file(image_file, "#file")
    browser.wait_for("!by('canvas').hidden && !by('classes').hidden")
    set_threshold(browser, 0)
    assert browser.overflow() == []
    assert browser.evaluate(WITHOUT_NAME) == []
    browser.evaluate("by('threshold').focus()")
    browser.press("ArrowRight", 39)
    assert browser.evaluate("by('value').textContent") == "0.01"
    browser.evaluate("document.querySelector('#list li').focus()")
    assert browser.evaluate("marked === kept()[0]")
    origin = address.rstrip("/")
    assert browser.complaints == []
    assert browser.requests
    assert all(each.startswith(origin) for each in browser.requests)


def test_nothing_of_others_runs_in_the_page(browser, address) -> None:
    """A script that got into it is stopped by the policy, and so is an attribute that acts."""
    browser.open(address)
    browser.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<b id=x onclick=\"window.bad = 1\">x</b>');"
        "const added = document.createElement('script'); added.textContent = 'window.bad = 2';"
        "document.body.append(added); by('x').click()"
    )
    assert browser.evaluate("window.bad === undefined")
    browser.wait_for("fetch('health').then(reply => reply.ok)")
    assert any("Content Security Policy" in each for each in browser.complaints)


def test_limits_and_a_busy_server_are_told_in_words(browser, address, image_file, tmp_path) -> None:
    """A file too large is not sent; who is told to wait may try again; so when nobody answers."""
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2**20 + 1))
    browser.open(address)
    browser.wait_for("by('limits').textContent.includes('1 MiB')")
    browser.evaluate("const real = window.fetch; " + NO_REQUESTS)
    reason = "by('error').hidden ? '' : by('reason').textContent"
    browser.choose_file(large, "#file")
    browser.wait_for(
        f"({reason}).includes('large.png has 1.0 MiB; an image file may have at most')"
    )
    for answer, words in (
        (
            "Promise.resolve(Response.json({detail: '16 images wait'}, "
            "{status: 503, headers: {'Retry-After': '1'}}))",
            "16 images wait (again after 1 s)",
        ),
        ("Promise.reject(new TypeError('Failed to fetch'))", "the server does not answer"),
        ("Promise.resolve(new Response('<html>', {status: 502}))", "refused it with status 502"),
    ):
        browser.evaluate(f"window.fetch = () => {answer}; true")
        browser.choose_file(image_file, "#file")
        browser.wait_for(f"({reason}).includes({words!r})")
    browser.evaluate("window.fetch = real; by('again').click()")
    browser.wait_for("by('error').hidden && !by('canvas').hidden")
    assert browser.complaints == []
