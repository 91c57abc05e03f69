"""What the web server does: one image after the other, limits, and counts of both."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ddetr_data import ClassNames
from ddetr_data.detection import DetectorError, detect
from ddetr_data.images import read_image
from ddetr_export.runtime import OnnxDetector
from ddetr_export.serving._queries import Wanted
from ddetr_export.serving.admission import Admission
from ddetr_export.serving.config import ServeConfig

if TYPE_CHECKING:
    from PIL import Image

    from ddetr_data import Category, Detections

logger = logging.getLogger(__name__)

_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GoneError(Exception):
    """Nobody waits for the answer any more."""


class DetectionService:
    """A detector for many callers, and what it did so far."""

    def __init__(self, detector: OnnxDetector, config: ServeConfig) -> None:
        self.config = config
        self.admission = Admission(
            config.max_waiting,
            config.max_waiting * config.upload_bytes,
            config.min_upload_kib_s * 1024,
        )
        self._detector = detector
        self._names = ClassNames(detector.categories)
        self._counts = {"answered": 0, "refused": 0, "busy": 0, "failed": 0}
        self._buckets = [0] * len(_BUCKETS_SECONDS)
        self._seconds = 0.0
        self._failure: str | None = None  # why the model could not answer the last image
        self._noting = threading.Lock()
        # The runtime uses all cores for one image, and memory holds the pixels of one.
        self._detecting = threading.Lock()

    @property
    def categories(self) -> Sequence[Category]:
        """The model's classes."""
        return self._detector.categories

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
        with self.admission.take():
            return self.detect(content, Wanted(threshold))

    def detect(
        self, content: bytes, wanted: Wanted, has_left: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Detect for a request that holds a slot already; as predict.

        Raises:
            GoneError: has_left says, when its turn has come, that nobody waits for the answer.
            DetectorError: the model gives no answer, or one that cannot be.
        """
        if not content:
            raise ValueError("the body is empty; post an image file")
        with self._detecting:
            if has_left():
                raise GoneError("the client left before its image was looked at")
            image = self._decode(content)
            started = time.perf_counter()
            found = self._found(image)
            seconds = time.perf_counter() - started
            width, height = image.size
            del image
        self._note(seconds)
        return {
            "image": {"width": width, "height": height},
            "seconds": round(seconds, 4),
            "detections": self._rows(wanted.of(found)),
        }

    def health(self) -> dict[str, Any]:
        """Say which model answers, whether it could answer the last image, and its limits."""
        config, failure = self._detector.preprocess_config, self._failure
        state = {"status": "ok"} if failure is None else {"status": "failing", "detail": failure}
        return {
            **state,
            "model": self._detector.path.name,
            "providers": list(self._detector.providers),
            "input": {"height": config.height, "width": config.width},
            "categories": [{"id": number, "name": name} for number, name in self._names.items()],
            "limits": {
                "upload_mib": self.config.max_upload_mib,
                "megapixels": self.config.max_megapixels,
            },
        }

    def metrics(self) -> str:
        """Count in Prometheus' text form."""
        with self._noting:
            counts, in_flight = dict(self._counts), self.admission.taken
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

    def _note(self, seconds: float) -> None:
        with self._noting:
            self._counts["answered"] += 1
            self._seconds += seconds
            for index, most in enumerate(_BUCKETS_SECONDS):
                self._buckets[index] += seconds <= most

    def _found(self, image: Image.Image) -> Detections:
        """Detect in an image that is decoded: what fails now is the model."""
        try:
            (found,) = detect(self._detector, [image])
        except Exception as error:
            logger.exception("the model gives no answer")
            reason = str(error).replace(str(self._detector.path), self._detector.path.name)
            self._failure = f"the model cannot answer: {reason or type(error).__name__}"
            raise DetectorError(self._failure) from error
        self._failure = None
        return found

    def _decode(self, content: bytes) -> Image.Image:
        """The image, turned as its EXIF data says; its size is looked at before its pixels."""
        try:
            return read_image(
                content,
                white=self._detector.preprocess_config.white,
                most_pixels=self.config.max_megapixels * 10**6,
                most_side=self.config.max_side_pixels,
                most_scans=self.config.max_scans,
            )
        except ValueError as error:
            reason = str(error)
        # Anew: the traceback holds the pixels, until Python looks for garbage.
        raise ValueError(reason)

    def _rows(self, found: Detections) -> list[dict[str, Any]]:
        return [
            {
                "box_xyxy": [round(float(each), 2) for each in box],
                "score": float(str(score)),  # as few digits as tell it from the next float32
                "category_id": int(label),
                "category": self._names[int(label)],
            }
            for box, score, label in zip(found.boxes_xyxy, found.scores, found.labels, strict=True)
        ]
