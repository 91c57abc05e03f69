"""The web application: what is answered, under which limits, and how that is described."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ddetr_data import InstallHint, MissingExtraError
from ddetr_data.detection import DetectorError
from ddetr_export.runtime import OnnxDetector
from ddetr_export.serving._hosts import ANY_HOST, HostCheck
from ddetr_export.serving._openapi import describe_predict, describe_view
from ddetr_export.serving._page import read_page
from ddetr_export.serving._queries import Wanted, read_query
from ddetr_export.serving._uploads import RefusedError, check_headers, uploaded
from ddetr_export.serving.admission import BusyError
from ddetr_export.serving.config import ServeConfig
from ddetr_export.serving.service import DetectionService, GoneError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

_RETRY_SECONDS = 1
_OUTCOMES = {500: "failed", 503: "busy"}  # of other statuses: refused


def create_app(
    detector: OnnxDetector, config: ServeConfig | None = None, **changes: Any
) -> FastAPI:
    """Make the web application.

    `POST /predict?threshold=0.5` takes an image file as the request's body and answers
    {"image": {"width", "height"}, "seconds", "detections": [{"box_xyxy", "score", "category_id",
    "category"}]}. The threshold may be JSON, of one for each class; `category_id=1`, which may
    stand again, asks for that class alone. A body that is too large is 413, one that is no image
    400, a form 415, one that does not come in time 408, a threshold or a class that is none 422, a
    Host header that is not answered 421, 503 says that too many wait, and 500 that the model cannot
    answer, as one with NaN in it.
    `/health` names the model, and tells if it could not answer the last image; `/metrics` counts
    in Prometheus' text form; `/` is a page to drop an image on; `/openapi.json` describes all.

    Args:
        detector: What answers.
        config: Its limits. Those of connections and headers, and host, port and stop_seconds, act
            in `serve` alone. Without an allow_host any Host header is answered: only the server
            knows its own names.
        changes: Fields of `ServeConfig` instead of the config's.

    Raises:
        MissingExtraError: FastAPI is not installed.
        ValueError: a value is outside of its range.
    """
    try:
        from fastapi import FastAPI
    except ImportError as error:
        hint = InstallHint("serve", "ddetr-export")
        raise MissingExtraError("serving needs FastAPI", hint) from error

    config = replace(config or ServeConfig(), **changes)
    app = FastAPI(title="ddetr", docs_url=None, redoc_url=None)
    service = DetectionService(detector, config)
    _add_predict(app, service)
    _add_views(app, service)
    app.add_middleware(HostCheck, names=config.allow_host or [ANY_HOST])
    return app


def _add_predict(app: FastAPI, service: DetectionService) -> None:
    from fastapi import Request

    async def predict(request: Request) -> Any:
        """Detect in an image file, which is the request's body."""
        try:
            wanted = read_query(request, service.categories)
            check_headers(request, service.config)
            async with uploaded(request, service.admission, service.config) as content:
                return await _detect(request, service, content, wanted)
        except RefusedError as refused:
            return _refusal(service, refused.status, str(refused))
        except BusyError as error:
            return _refusal(service, 503, str(error))
        except DetectorError as error:
            return _refusal(service, 500, str(error))
        except (ValueError, GoneError) as error:
            return _refusal(service, 400, str(error))
        except asyncio.CancelledError:  # the server stops, and this body was too slow to wait for
            return _refusal(service, 503, "the server stops; try again in a moment")
        except Exception:
            service.count("failed")
            raise

    # Named here, not by decorators' annotations: those cannot see imports made in a function.
    predict.__annotations__ = {"request": Request}
    app.add_api_route("/predict", predict, methods=["POST"], **describe_predict())


async def _detect(
    request: Request, service: DetectionService, content: bytes, wanted: Wanted
) -> dict[str, Any]:
    """Detect in a thread, and not at all if the client leaves before its turn."""
    from fastapi.concurrency import run_in_threadpool

    gone = threading.Event()

    async def watch() -> None:
        if (await request.receive())["type"] == "http.disconnect":
            gone.set()

    watching = asyncio.ensure_future(watch())
    try:
        return await run_in_threadpool(service.detect, content, wanted, gone.is_set)
    finally:
        watching.cancel()


def _add_views(app: FastAPI, service: DetectionService) -> None:
    """Add what only looks; balancers ask for the head alone."""
    from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse

    shown = read_page()

    # Coroutines: they wait for none of the threads that images wait in.
    async def health() -> Any:
        """Say which model answers."""
        return JSONResponse(service.health())

    async def metrics() -> Any:
        """Count requests in Prometheus' text form."""
        return PlainTextResponse(service.metrics())

    async def page() -> Any:
        """Show a page to drop an image on."""
        return HTMLResponse(shown.text, headers=shown.headers)

    for path, view in (("/health", health), ("/metrics", metrics), ("/", page)):
        for method in ("GET", "HEAD"):
            app.add_api_route(path, view, methods=[method], **describe_view(view.__name__, method))


def _refusal(service: DetectionService, status: int, text: str) -> Response:
    from fastapi.responses import JSONResponse

    service.count(_OUTCOMES.get(status, "refused"))
    headers = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else None
    return JSONResponse({"detail": text}, status, headers)
