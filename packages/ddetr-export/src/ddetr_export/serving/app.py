"""Detection over HTTP with an exported file: the extra [serve]."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

from ddetr_data import InstallHint, MissingExtraError
from ddetr_data.detection import InferenceConfig
from ddetr_export.runtime import OnnxDetector
from ddetr_export.serving.service import BusyError, DetectionService, UploadLimits

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

_THRESHOLD: float = InferenceConfig.model_fields["conf_threshold"].default
_RETRY_SECONDS = 1
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' blob: data:",
    "X-Content-Type-Options": "nosniff",
}


def serve(
    detector: OnnxDetector,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_upload_mib: int = UploadLimits.upload_mib,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Answer until interrupted; see `create_app` for what is answered.

    Args:
        detector: What answers.
        host: Address to listen at; 0.0.0.0 is every one of the machine.
        port: 0 takes a free one.
        max_upload_mib: Largest image file.
        on_ready: Called with the page's address once requests are taken.

    Raises:
        ValueError: the extra is missing, or the address cannot be listened at.
    """
    app = create_app(detector, max_upload_mib=max_upload_mib)
    import uvicorn

    with _listener(host, port) as listener:
        if on_ready is not None:
            on_ready(f"http://{_in_address(host)}:{listener.getsockname()[1]}")
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
        uvicorn.Server(settings).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason, _, _ = (error.strerror or str(error)).partition(" (while")  # names the place again
        raise ValueError(f"cannot listen at {_in_address(host)}:{port}: {reason}") from error


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def create_app(detector: OnnxDetector, *, max_upload_mib: int = UploadLimits.upload_mib) -> FastAPI:
    """Make the web application.

    `POST /predict?threshold=0.5` takes an image file as the request's body and answers
    {"image": {"width", "height"}, "seconds", "detections": [{"box_xyxy", "score", "category_id",
    "category"}]}. A body that is too large is 413, one that is no image 400, a form 415, a
    threshold that is none 422, and 503 says that too many wait. `/health` names the model;
    `/metrics` counts in Prometheus' text form; `/` is a page to drop an image on.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI, Query, Request
        from fastapi.concurrency import run_in_threadpool
        from fastapi.exceptions import RequestValidationError
    except ImportError as error:
        hint = InstallHint("serve", "ddetr-export")
        raise MissingExtraError("serving needs FastAPI", hint) from error

    app = FastAPI(title="ddetr", docs_url=None, redoc_url=None)
    service = DetectionService(detector, UploadLimits(max_upload_mib))

    async def predict(request: Request, threshold: float = Query(_THRESHOLD, ge=0, le=1)) -> Any:
        try:
            content = await _body(request, service.limits)
            return await run_in_threadpool(service.predict, content, threshold)
        except _RefusedError as refused:
            return _refusal(service, refused.status, str(refused))
        except BusyError as error:
            return _refusal(service, 503, str(error))
        except ValueError as error:
            return _refusal(service, 400, str(error))
        except asyncio.CancelledError:  # the server stops, and this body was too slow to wait for
            return _refusal(service, 503, "the server stops; try again in a moment")
        except Exception:
            service.count("failed")
            raise

    async def refuse_threshold(request: Request, _error: Exception) -> Any:
        given = request.query_params.get("threshold")
        return _refusal(service, 422, f"threshold must be a number from 0 to 1, got {given}")

    # Named here, not by decorators' annotations: those cannot see imports made in a function.
    predict.__annotations__ = {"request": Request, "threshold": float}
    app.add_exception_handler(RequestValidationError, refuse_threshold)
    app.add_api_route("/predict", predict, methods=["POST"])
    _add_views(app, service)
    return app


def _add_views(app: FastAPI, service: DetectionService) -> None:
    """Add what only looks; balancers ask for the head alone."""
    from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse

    page = resources.files("ddetr_export").joinpath("page.html").read_text("utf-8")
    for path, view, kind in (
        ("/health", service.health, JSONResponse),
        ("/metrics", service.metrics, PlainTextResponse),
        ("/", lambda: HTMLResponse(page, headers=_SECURITY_HEADERS), HTMLResponse),
    ):
        app.add_api_route(path, view, response_class=kind)
        app.add_api_route(
            path, view, methods=["HEAD"], response_class=kind, include_in_schema=False
        )


class _RefusedError(Exception):
    """A request that is not looked at further."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def _body(request: Request, limits: UploadLimits) -> bytes:
    """Read the body, and no more of it than is allowed."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise _RefusedError(415, "post the image file itself as the body, not a form")
    too_large = _RefusedError(413, f"an image file may have at most {limits.upload_mib} MiB")
    if int(request.headers.get("content-length") or 0) > limits.upload_bytes:
        raise too_large
    from starlette.requests import ClientDisconnect

    content = bytearray()
    try:
        async for block in request.stream():
            content += block
            if len(content) > limits.upload_bytes:
                raise too_large
    except ClientDisconnect:
        raise _RefusedError(400, "the client left before its image was whole") from None
    return bytes(content)


def _refusal(service: DetectionService, status: int, text: str) -> Response:
    from fastapi.responses import JSONResponse

    service.count("busy" if status == 503 else "refused")
    headers = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else None
    return JSONResponse({"detail": text}, status, headers)
