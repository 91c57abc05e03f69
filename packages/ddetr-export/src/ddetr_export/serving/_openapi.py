"""What `/openapi.json` says of each path: names, bodies and every status that it answers with."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ddetr_export.serving._queries import PARAMETERS

__all__ = ["describe_predict", "describe_view"]

_REFUSALS = {
    400: "The body is empty, no image, damaged, or an image of too many pixels.",
    408: "The body did not arrive in time.",
    413: "The body is larger than an image file may be.",
    415: "The body is a form, or compressed once more.",
    422: "A threshold is no number from 0 to 1, or a class is not the model's.",
    500: "The model cannot answer: its file is damaged or its precision too low.",
    503: "Too many requests wait, or the server stops; try again after the seconds of Retry-After.",
}
_OTHER_HOST = {421: "The Host header names a machine that is not answered for."}
_IMAGE = {"schema": {"type": "string", "format": "binary"}}


class ImageSize(BaseModel):
    """An image's size in pixels, after the turn that its EXIF data asks for."""

    width: int
    height: int


class Found(BaseModel):
    """One detection."""

    box_xyxy: tuple[float, float, float, float]
    score: float
    category_id: int
    category: str


class Prediction(BaseModel):
    """What is found in an image, best first."""

    image: ImageSize
    seconds: float
    detections: list[Found]


class InputSize(BaseModel):
    """What the model takes, in pixels."""

    height: int
    width: int


class Category(BaseModel):
    """A class that the model knows."""

    id: int
    name: str


class Limits(BaseModel):
    """What an image may have: a file of so many MiB, and so many pixels in 10**6."""

    upload_mib: int
    megapixels: int


class Health(BaseModel):
    """Which model answers, and with a detail why it could not answer the last image."""

    status: str
    detail: str | None = None
    model: str
    providers: list[str]
    input: InputSize
    categories: list[Category]
    limits: Limits


class Refusal(BaseModel):
    """Why a request is not answered, in one sentence."""

    detail: str


_VIEWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "health": ("Which model answers", "application/json", {"model": Health}),
    "metrics": ("Counts in Prometheus' text form", "text/plain", {}),
    "page": ("A page to drop an image on", "text/html", {}),
}


def describe_predict() -> dict[str, Any]:
    """Give the arguments of `add_api_route` that describe /predict."""
    return {
        "operation_id": "predict",
        "summary": "Detect in an image file",
        "response_model": None,
        "responses": {
            200: {"model": Prediction, "description": "What is found."},
            **_refusals(_REFUSALS | _OTHER_HOST),
        },
        "openapi_extra": {
            "parameters": PARAMETERS,
            "requestBody": {
                "required": True,
                "description": "The image file itself.",
                "content": {"application/octet-stream": _IMAGE, "image/*": _IMAGE},
            },
        },
    }


def describe_view(name: str, method: str) -> dict[str, Any]:
    """Give the arguments of `add_api_route` that describe a page that only looks."""
    summary, kind, content = _VIEWS[name]
    is_head = method == "HEAD"
    if not content:
        content = {"content": {kind: {"schema": {"type": "string"}}}}
    if is_head:
        content = {"content": {kind: {}}}
    return {
        "operation_id": f"{name}_head" if is_head else name,
        "name": name,
        "summary": f"{summary}: the head alone" if is_head else summary,
        "response_model": None,
        "responses": {200: {"description": summary, **content}, **_refusals(_OTHER_HOST)},
    }


def _refusals(meanings: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": Refusal, "description": text} for status, text in sorted(meanings.items())
    }
