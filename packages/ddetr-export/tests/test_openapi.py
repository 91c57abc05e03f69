"""What `/openapi.json` says is what the server does."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from ddetr_export import open_detector

pytest.importorskip("fastapi")

from ddetr_export.serving import create_app


@pytest.fixture
def app(toy_onnx):
    return create_app(open_detector(toy_onnx()))


def test_the_description_names_bodies_and_statuses(app) -> None:
    """The image is the body of /predict, and every refusal has its place."""
    paths = app.openapi()["paths"]
    predict = paths["/predict"]["post"]
    assert predict["operationId"] == "predict"
    assert predict["requestBody"]["required"] is True
    assert "application/octet-stream" in predict["requestBody"]["content"]
    statuses = {"200", "400", "408", "413", "415", "421", "422", "500", "503"}
    assert set(predict["responses"]) == statuses
    looking = {operation["operationId"] for path in paths.values() for operation in path.values()}
    assert looking >= {"health", "metrics", "page"}


def test_requests_made_from_the_description_are_answered_as_it_says(app) -> None:
    """Schemathesis finds no status, kind or form of an answer that is not described."""
    schemathesis = pytest.importorskip("schemathesis")
    hypothesis = pytest.importorskip("hypothesis")
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    # Any bytes are a body as the description has it, and few of them are an image.
    left_out = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(max_examples=30, deadline=None, database=None, derandomize=True)
        def ask(case) -> None:
            case.call_and_validate(excluded_checks=left_out)

        ask()
        tried.add(operation.label)
    assert "POST /predict" in tried


def test_an_answer_is_as_described(app) -> None:
    """What is found has the form of the schema."""
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    image = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(image, "PNG")
    answer = TestClient(app).post("/predict?threshold=0", content=image.getvalue()).json()
    described = app.openapi()
    answered = described["paths"]["/predict"]["post"]["responses"]["200"]
    schema = answered["content"]["application/json"]["schema"]
    jsonschema.validate(answer, {**schema, "components": described["components"]})
    assert answer["detections"]
