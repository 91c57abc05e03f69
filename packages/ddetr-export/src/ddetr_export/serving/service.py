"""What the web server does: one image after the other, limits, and counts of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddetr_data import ClassNames
from ddetr_data.images import read_image
from ddetr_export.runtime import OnnxDetector

if TYPE_CHECKING:
    from PIL import Image

    from ddetr_data import Detections

_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class BusyError(RuntimeError):
    """Too many requests wait already."""


@dataclass(frozen=True)
class UploadLimits:
    """What a request may ask for."""

    upload_mib: int = 20
    megapixels: int = 100  # 10**6 pixels, known from an image's header before it is decoded
    waiting: int = 16  # requests at a time, the one that is answered among them

    @property
    def upload_bytes(self) -> int:
        """Largest image file."""
        return self.upload_mib << 20


class DetectionService:
    """A detector for many callers, and what it did so far."""

    def __init__(self, detector: OnnxDetector, limits: UploadLimits) -> None:
        self.limits = limits
        self._detector = detector
        self._names = ClassNames(detector.categories)
        self._counts = {"answered": 0, "refused": 0, "busy": 0, "failed": 0}
        self._in_flight = 0
        self._buckets = [0] * len(_BUCKETS_SECONDS)
        self._seconds = 0.0
        self._noting = threading.Lock()
        self._detecting = threading.Lock()  # the runtime uses all cores for one image

    def count(self, outcome: str) -> None:
        """Note one more request of that outcome: answered, refused, busy or failed."""
        with self._noting:
            self._counts[outcome] += 1

    def predict(self, content: bytes, threshold: float) -> dict[str, Any]:
        """Detect in an encoded image.

        Raises:
            BusyError: as many requests as allowed are under way.
            ValueError: content is no image that can be read, or one of too many pixels.
        """
        with self._place():
            picture = self._decode(content)
            with self._detecting:
                started = time.perf_counter()
                (found,) = self._detector.predict([picture])
                seconds = time.perf_counter() - started
        self._note(seconds)
        return {
            "image": {"width": picture.width, "height": picture.height},
            "seconds": round(seconds, 4),
            "detections": self._rows(found.above(threshold)),
        }

    def health(self) -> dict[str, Any]:
        """Say which model answers."""
        config = self._detector.preprocess_config
        return {
            "status": "ok",
            "model": self._detector.path.name,
            "providers": list(self._detector.providers),
            "input": {"height": config.height, "width": config.width},
            "categories": [{"id": number, "name": name} for number, name in self._names.items()],
        }

    def metrics(self) -> str:
        """Count in Prometheus' text form."""
        with self._noting:
            counts, in_flight = dict(self._counts), self._in_flight
            buckets, seconds = list(self._buckets), self._seconds
        answered = counts["answered"]
        lines = [
            "# HELP ddetr_requests_total Requests to /predict by what became of them.",
            "# TYPE ddetr_requests_total counter",
            *(f'ddetr_requests_total{{outcome="{name}"}} {n}' for name, n in counts.items()),
            "# HELP ddetr_requests_in_flight Requests that wait or are being answered.",
            "# TYPE ddetr_requests_in_flight gauge",
            f"ddetr_requests_in_flight {in_flight}",
            "# HELP ddetr_detection_seconds Time of detecting in one image.",
            "# TYPE ddetr_detection_seconds histogram",
            *(
                f'ddetr_detection_seconds_bucket{{le="{most:g}"}} {n}'
                for most, n in zip(_BUCKETS_SECONDS, buckets, strict=True)
            ),
            f'ddetr_detection_seconds_bucket{{le="+Inf"}} {answered}',
            f"ddetr_detection_seconds_sum {seconds:.6f}",
            f"ddetr_detection_seconds_count {answered}",
        ]
        return "\n".join(lines) + "\n"

    @contextmanager
    def _place(self) -> Iterator[None]:
        with self._noting:
            if self._in_flight >= self.limits.waiting:
                raise BusyError(f"{self._in_flight} images wait already; try again in a moment")
            self._in_flight += 1
        try:
            yield
        finally:
            with self._noting:
                self._in_flight -= 1

    def _note(self, seconds: float) -> None:
        with self._noting:
            self._counts["answered"] += 1
            self._seconds += seconds
            for place, most in enumerate(_BUCKETS_SECONDS):
                self._buckets[place] += seconds <= most

    def _decode(self, content: bytes) -> Image.Image:
        """The image, turned as its EXIF data says; its size is looked at before its pixels."""
        if not content:
            raise ValueError("the body is empty; post an image file")
        return read_image(content, most_pixels=self.limits.megapixels * 10**6)

    def _rows(self, found: Detections) -> list[dict[str, Any]]:
        return [
            {
                "box_xyxy": [round(float(each), 2) for each in box],
                "score": round(float(score), 4),
                "category_id": int(label),
                "category": self._names[int(label)],
            }
            for box, score, label in zip(found.boxes_xyxy, found.scores, found.labels, strict=True)
        ]
