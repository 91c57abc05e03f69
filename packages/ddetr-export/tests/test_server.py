"""Detection over HTTP."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from ddetr_export.runtime import Detector

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from ddetr_export.server import create_app


@pytest.fixture
def client(toy_onnx) -> TestClient:
    return TestClient(create_app(Detector(toy_onnx()), max_upload_mib=1))


def png(width: int = 40, height: int = 30) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(content, "PNG")
    return content.getvalue()


def test_an_image_is_answered_with_detections(client, toy_onnx) -> None:
    """The answer holds what the detector finds, with names and the image's size."""
    answer = client.post("/predict?threshold=0", content=png()).json()
    (expected,) = Detector(toy_onnx()).predict([Image.open(io.BytesIO(png()))])
    assert answer["image"] == {"width": 40, "height": 30}
    assert len(answer["detections"]) == len(expected)
    first = answer["detections"][0]
    assert first["score"] == pytest.approx(expected.scores[0], abs=1e-3)
    assert first["box_xyxy"] == pytest.approx(expected.boxes_xyxy[0], abs=0.01)
    names = {0: "0", 1: "red cell", 2: "platelet"}
    assert first["category"] == names[first["category_id"]]


def test_the_threshold_drops_low_scores(client) -> None:
    """Nothing is sure enough for a threshold above 1."""
    assert client.post("/predict?threshold=1.1", content=png()).json()["detections"] == []


def test_what_is_no_image_or_too_large_is_refused(client) -> None:
    """Refusals have the right status and one sentence, and the server goes on."""
    reply = client.post("/predict", content=b"no image")
    assert (reply.status_code, "not an image" in reply.json()["detail"]) == (400, True)
    reply = client.post("/predict", content=bytes(2**20 + 1))
    assert (reply.status_code, "at most 1 MiB" in reply.json()["detail"]) == (413, True)
    assert client.post("/predict", content=png()).status_code == 200


def test_health_and_metrics_tell_what_happened(client) -> None:
    """The model's name, and counts of answered and refused requests."""
    client.post("/predict", content=png())
    client.post("/predict", content=b"")
    health = client.get("/health").json()
    assert (health["status"], health["model"]) == ("ok", "toy.onnx")
    metrics = client.get("/metrics").text
    assert 'ddetr_requests_total{outcome="answered"} 1' in metrics
    assert 'ddetr_requests_total{outcome="refused"} 1' in metrics


def test_the_page_is_served(client) -> None:
    """The root answers with the page that images are dropped on."""
    reply = client.get("/")
    assert "text/html" in reply.headers["content-type"]
    assert "Drop an image" in reply.text
