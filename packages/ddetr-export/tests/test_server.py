"""Detection over HTTP."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ddetr_data import Detections
from ddetr_export import OnnxDetector, open_detector

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from ddetr_export.serving import BusyError, DetectionService, ServeConfig, create_app, serve


def png(width: int = 40, height: int = 30) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def client(toy_onnx) -> TestClient:
    return TestClient(create_app(open_detector(toy_onnx()), max_upload_mib=1))


def test_an_image_is_answered_with_detections(client, toy_onnx) -> None:
    """The answer holds what the detector finds, with names and the image's size."""
    answer = client.post("/predict?threshold=0", content=png()).json()
    (expected,) = open_detector(toy_onnx()).predict([Image.open(io.BytesIO(png()))])
    assert answer["image"] == {"width": 40, "height": 30}
    assert len(answer["detections"]) == len(expected)
    first = answer["detections"][0]
    assert first["score"] == pytest.approx(expected.scores[0], abs=1e-3)
    assert first["box_xyxy"] == pytest.approx(expected.boxes_xyxy[0], abs=0.01)
    names = {0: "0", 1: "red cell", 2: "platelet"}
    assert first["category"] == names[first["category_id"]]


def test_the_threshold_drops_low_scores(client) -> None:
    """What is below it is left out; what is no threshold is refused."""
    everything = client.post("/predict?threshold=0", content=png()).json()["detections"]
    middle = everything[1]["score"]
    kept = client.post(f"/predict?threshold={middle}", content=png()).json()["detections"]
    assert kept == everything[: len(kept)]
    assert len(kept) < len(everything)
    for wrong in ("2", "-1", "nan", "high"):
        refusal = client.post(f"/predict?threshold={wrong}", content=png())
        assert refusal.status_code == 422
        assert refusal.json()["detail"] == f"threshold must be a number from 0 to 1, got {wrong}"


def test_classes_have_thresholds_and_are_chosen(client) -> None:
    """By name, by id and for all others; a class that is not the model's is refused."""

    def ask(**query: object) -> tuple[int, object]:
        reply = client.post("/predict", content=png(), params=query)
        content = reply.json()
        if reply.status_code != 200:
            return reply.status_code, content["detail"]
        return 200, [(each["category_id"], each["score"]) for each in content["detections"]]

    _, everything = ask(threshold=0)
    of_one = [pair for pair in everything if pair[0] == 1]
    assert 0 < len(of_one) < len(everything)
    assert ask(threshold=0, category_id=1) == (200, of_one)
    assert ask(threshold=0, category_id=[1, 2]) == (200, everything)
    assert ask(threshold='{"default": 1, "red cell": 0}') == (200, of_one)
    assert ask(threshold='{"default": 0, "2": 1}') == (200, of_one)
    best = of_one[0][1]
    assert ask(threshold=best, category_id=1)[1][0] == of_one[0]  # what is answered can be asked
    for query, sentence in (
        ({"threshold": '{"blue cell": 0.1}'}, "'blue cell', which the model does not have; did"),
        ({"threshold": '{"red cell": 2}'}, "must be a number from 0 to 1, got 2"),
        ({"threshold": "{"}, "an object of numbers by class in JSON"),
        ({"category_id": 9}, "category_id 9 is no class of the model, which has 1, 2"),
        ({"category_id": "red"}, "category_id must be a whole number, got red"),
    ):
        status, said = ask(**query)
        assert (status, sentence in str(said)) == (422, True), said


@pytest.mark.parametrize(
    ("content", "headers", "status", "sentence"),
    [
        (b"no image", {}, 400, "no image of a known kind"),
        (b"", {}, 400, "the body is empty"),
        (png()[:60], {}, 400, "it is damaged"),
        (bytes(2**20 + 1), {}, 413, "at most 1 MiB"),
        (png(), {"content-type": "multipart/form-data; boundary=x"}, 415, "not a form"),
    ],
)
def test_what_cannot_be_answered_is_refused(client, content, headers, status, sentence) -> None:
    """Refusals have the right status and one sentence, and the server goes on."""
    reply = client.post("/predict", content=content, headers=headers)
    assert (reply.status_code, sentence in reply.json()["detail"]) == (status, True)
    assert client.post("/predict", content=png()).status_code == 200


def test_an_upload_without_a_length_is_limited_too(client) -> None:
    """Reading stops at the limit, whatever the client says or does not say of the size."""
    reply = client.post("/predict", content=(bytes(2**18) for _ in range(5)))
    assert (reply.status_code, "at most 1 MiB" in reply.json()["detail"]) == (413, True)


def test_a_decompression_bomb_is_known_from_its_header(client) -> None:
    """A small file that would unpack to 900 megapixels is refused before it is unpacked."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    reply = client.post("/predict", content=bomb)
    assert reply.status_code == 400
    assert "pixels" in reply.json()["detail"]


def test_a_photograph_on_its_side_is_turned(client) -> None:
    """The answer's size and boxes are those of the upright image."""
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(content, "JPEG", exif=exif)
    answer = client.post("/predict", content=content.getvalue()).json()
    assert answer["image"] == {"width": 30, "height": 40}


def test_many_at_once_are_answered_up_to_a_limit(toy_onnx) -> None:
    """More than may wait are told to come back; the others get their answers."""
    entered, release = threading.Semaphore(0), threading.Event()

    class SlowDetector(OnnxDetector):
        def predict(self, images):
            entered.release()
            assert release.wait(30)
            return super().predict(images)

    service = DetectionService(SlowDetector(toy_onnx()), ServeConfig(max_waiting=3))
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(service.predict, png(), 0.0) for _ in range(3)]
        assert entered.acquire(timeout=30)
        while "in_flight 3" not in service.metrics():
            time.sleep(0.01)
        with pytest.raises(BusyError, match="3 images wait already"):
            service.predict(png(), 0.0)
        release.set()
        assert all(len(each.result()["detections"]) == 4 for each in answers)
    assert "ddetr_requests_in_flight 0" in service.metrics()


def test_health_and_metrics_tell_what_happened(client) -> None:
    """The model, and counts that Prometheus' own reader takes."""
    parser = pytest.importorskip("prometheus_client.parser")
    client.post("/predict", content=png())
    client.post("/predict", content=b"")
    client.post("/predict?threshold=7", content=png())
    health = client.get("/health").json()
    assert (health["status"], health["model"]) == ("ok", "toy.onnx")
    assert health["input"] == {"height": 24, "width": 32}
    families = {
        each.name: each
        for each in parser.text_string_to_metric_families(client.get("/metrics").text)
    }
    requests = families["ddetr_requests"].samples
    counts = {each.labels["outcome"]: each.value for each in requests}
    assert counts == {"answered": 1, "refused": 2, "busy": 0, "failed": 0}
    seconds = {each.name: each.value for each in families["ddetr_detection_seconds"].samples}
    assert seconds["ddetr_detection_seconds_count"] == 1
    assert seconds["ddetr_detection_seconds_sum"] > 0


def test_a_fault_of_the_program_is_counted(toy_onnx, monkeypatch) -> None:
    """It is no answer and no refusal."""
    detector = open_detector(toy_onnx())
    monkeypatch.setattr(detector, "predict", lambda _images: 1 / 0)
    client = TestClient(create_app(detector), raise_server_exceptions=False)
    assert client.post("/predict", content=png()).status_code == 500
    assert 'outcome="failed"} 1' in client.get("/metrics").text


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([Detections(np.full((1, 4), np.nan), np.ones(1), np.ones(1, int))], id="NaN"),
        pytest.param([], id="no answer"),
        pytest.param(ValueError("pred_boxes (1, 5, 3)"), id="shapes"),
        pytest.param(RuntimeError("out of memory"), id="runtime"),
    ],
)
def test_a_model_that_cannot_answer_is_told(toy_onnx, monkeypatch, answers) -> None:
    """500 in JSON, never "nothing found"; /health tells, until an image is answered again."""
    detector = open_detector(toy_onnx())

    def predict(_images):
        if isinstance(answers, Exception):
            raise answers
        return answers

    client = TestClient(create_app(detector))
    with monkeypatch.context() as patched:
        patched.setattr(detector, "predict", predict)
        refusal = client.post("/predict", content=png())
        assert refusal.status_code == 500
        assert refusal.json()["detail"].startswith("the model cannot answer: ")
        assert str(detector.path) not in refusal.json()["detail"]
        health = client.get("/health").json()
        assert (health["status"], health["detail"]) == ("failing", refusal.json()["detail"])
        assert client.post("/predict", content=b"none").status_code == 400
        assert 'outcome="failed"} 1' in client.get("/metrics").text
    assert client.post("/predict", content=png()).status_code == 200
    assert client.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/", "/health", "/metrics"])
def test_balancers_may_ask_for_the_head_alone(client, path) -> None:
    """The same status and kind as with the content."""
    head, whole = client.head(path), client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (200, whole.headers["content-type"])


def test_stopping_leaves_a_slow_client_with_an_answer(toy_onnx, capfd) -> None:
    """Neither a body that never ends nor a client that left prints a traceback."""
    uvicorn = pytest.importorskip("uvicorn")
    # Its own set-up of logging would close what other libraries' handlers took for sys.stderr.
    settings = uvicorn.Config(
        create_app(open_detector(toy_onnx())), log_config=None, timeout_graceful_shutdown=1
    )
    server, listener = uvicorn.Server(settings), socket.create_server(("127.0.0.1", 0))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab"
    with socket.create_connection(listener.getsockname()) as slow:
        slow.settimeout(30)
        slow.sendall(head)
        with socket.create_connection(listener.getsockname()) as leaving:
            leaving.sendall(head)
        while len(server.server_state.tasks) != 1:  # the one that left is noticed
            time.sleep(0.01)
        server.should_exit = True
        answer = slow.recv(10_000)
    serving.join(30)
    assert answer.startswith(b"HTTP/1.1 503")
    assert "Traceback" not in capfd.readouterr().err


def test_nothing_is_done_for_a_client_that_has_left(toy_onnx) -> None:
    """Its image is passed over when its turn comes."""
    uvicorn = pytest.importorskip("uvicorn")
    entered, release, looked_at = threading.Event(), threading.Event(), []

    class SlowDetector(OnnxDetector):
        def predict(self, images):
            looked_at.append(images[0].width)
            entered.set()
            assert release.wait(30)
            return super().predict(images)

    app = create_app(SlowDetector(toy_onnx()))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()

    def post(width: int) -> socket.socket:
        image = png(width)
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image)}\r\n\r\n"
        client = socket.create_connection(listener.getsockname(), 30)
        client.sendall(head.encode() + image)
        return client

    def metrics() -> str:
        with socket.create_connection(listener.getsockname(), 30) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return client.makefile().read()

    with post(10) as first:
        assert entered.wait(30)
        with post(20):
            while "in_flight 2" not in metrics():
                time.sleep(0.01)
        while len(server.server_state.connections) != 1:  # the one that left is noticed
            time.sleep(0.01)
        with post(30) as last:
            release.set()
            assert all(each.recv(1000).startswith(b"HTTP/1.1 200") for each in (first, last))
    server.should_exit = True
    serving.join(30)
    assert looked_at == [10, 30]


def test_serving_says_when_the_address_is_taken(toy_onnx) -> None:
    """One sentence, before anything is served."""
    detector = open_detector(toy_onnx())
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    sentence = f"^cannot listen at 127.0.0.1:{port}: Address already in use$"
    with taken, pytest.raises(ValueError, match=sentence):
        serve(detector, port=port)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_an_address_of_version_6_is_listened_at(toy_onnx) -> None:
    """The page's address has it in brackets."""
    said = []

    def stop(address: str) -> None:
        said.append(address)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(open_detector(toy_onnx()), host="::1", port=0, on_ready=stop)
    assert said[0].startswith("http://[::1]:")
