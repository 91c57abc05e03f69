"""Detection over HTTP with an exported file: the extra [serve]."""

from __future__ import annotations

import io
import threading
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps, UnidentifiedImageError

from ddetr_data.preprocess import open_image
from ddetr_export.runtime import Detector

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ddetr_data.types import Detections

_MOST_UPLOAD_MIB = 20


def serve(
    onnx_file: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_upload_mib: int = _MOST_UPLOAD_MIB,
) -> None:
    """Answer until interrupted; see `create_app` for what is answered.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not ours, or the extra is missing.
    """
    detector = Detector(onnx_file)
    app = create_app(detector, max_upload_mib=max_upload_mib)
    import uvicorn

    uvicorn.run(app, host=host, port=port, log_level="warning")


def create_app(detector: Detector, *, max_upload_mib: int = _MOST_UPLOAD_MIB) -> FastAPI:
    """Make the web application.

    `POST /predict?threshold=0.5` takes an image as the request's body and answers
    {"image": {"width", "height"}, "detections": [{"box_xyxy", "score", "category_id",
    "category"}]}; `/health` names the model; `/metrics` counts in Prometheus' text form; `/` is a
    page to drop an image on.

    Raises:
        ValueError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI, HTTPException, Request
        from fastapi.concurrency import run_in_threadpool
        from fastapi.responses import HTMLResponse, PlainTextResponse
    except ImportError as error:
        raise ValueError("serving needs FastAPI: install ddetr-export[serve]") from error

    app = FastAPI(title="ddetr", docs_url=None, redoc_url=None)
    service = _Service(detector)

    async def predict(request: Request, threshold: float = 0.5) -> dict[str, Any]:
        content = bytearray()
        async for block in request.stream():
            content += block
            if len(content) > max_upload_mib << 20:
                service.count("refused")
                raise HTTPException(413, f"an image may have at most {max_upload_mib} MiB")
        try:
            return await run_in_threadpool(service.predict, bytes(content), threshold)
        except ValueError as error:
            service.count("refused")
            raise HTTPException(400, str(error)) from error

    # Named here, not by decorators' annotations: those cannot see imports made in a function.
    predict.__annotations__ = {"request": Request, "threshold": float}
    app.add_api_route("/predict", predict, methods=["POST"])
    app.add_api_route("/health", service.health)
    app.add_api_route("/metrics", service.metrics, response_class=PlainTextResponse)
    app.add_api_route("/", _page, response_class=HTMLResponse)
    return app


def _page() -> str:
    return resources.files("ddetr_export").joinpath("page.html").read_text("utf-8")


class _Service:
    """The detector and what it did so far."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.names = {category.id: category.name for category in detector.categories}
        self.counts = {"answered": 0, "refused": 0}
        self.seconds = 0.0
        self.lock = threading.Lock()

    def count(self, outcome: str, seconds: float = 0.0) -> None:
        """Note one more request of that outcome."""
        with self.lock:
            self.counts[outcome] += 1
            self.seconds += seconds

    def predict(self, content: bytes, threshold: float) -> dict[str, Any]:
        """Detect in an encoded image.

        Raises:
            ValueError: content is no image that Pillow reads.
        """
        started = time.perf_counter()
        try:
            with Image.open(io.BytesIO(content)) as image:
                picture = open_image(ImageOps.exif_transpose(image))
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
            raise ValueError("the body is not an image that can be read") from error
        (found,) = self.detector.predict([picture])
        self.count("answered", time.perf_counter() - started)
        return {
            "image": {"width": picture.width, "height": picture.height},
            "detections": self._rows(found.above(threshold)),
        }

    def health(self) -> dict[str, Any]:
        """Say which model answers."""
        return {
            "status": "ok",
            "model": self.detector.path.name,
            "providers": list(self.detector.providers),
            "categories": len(self.names),
        }

    def metrics(self) -> str:
        """Count in Prometheus' text form."""
        with self.lock:
            rows = [f'ddetr_requests_total{{outcome="{k}"}} {n}' for k, n in self.counts.items()]
            seconds = self.seconds
        kinds = ["# TYPE ddetr_requests_total counter", "# TYPE ddetr_predict_seconds counter"]
        return "\n".join([kinds[0], *rows, kinds[1], f"ddetr_predict_seconds {seconds:.6f}", ""])

    def _rows(self, found: Detections) -> list[dict[str, Any]]:
        return [
            {
                "box_xyxy": [round(float(each), 2) for each in box],
                "score": round(float(score), 4),
                "category_id": int(label),
                "category": self.names.get(int(label), str(int(label))),
            }
            for box, score, label in zip(found.boxes_xyxy, found.scores, found.labels, strict=True)
        ]
