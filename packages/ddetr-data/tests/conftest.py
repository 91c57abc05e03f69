"""Small COCO sets on disk, and the real images where they are at hand."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from ddetr_data.config import DataSource

# A busy machine is no fault of the code: examples are counted, not timed.
settings.register_profile("repeatable", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("repeatable")

Content = dict[str, Any]
BUCKETS = itertools.count(1)


def coco_content(num_images: int = 2) -> Content:
    """Images of 40 x 30 pixels, each with one box per category 1 and 2."""
    images, annotations = [], []
    for number in range(1, num_images + 1):
        images.append({"id": number, "file_name": f"{number}.png", "width": 40, "height": 30})
        for category in (1, 2):
            row = {"id": len(annotations) + 1, "image_id": number, "category_id": category}
            row |= {"bbox": [5.0 * category, 4.0, 10.0, 8.0], "area": 80.0, "iscrowd": 0}
            annotations.append(row)
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def content() -> Content:
    """A faultless COCO object, for tests to spoil."""
    return coco_content()


@pytest.fixture
def write_source(tmp_path: Path) -> Callable[..., DataSource]:
    """Write a COCO object and images of noise for it; gives the source."""

    def write(content: Content, name: str = "a") -> DataSource:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for row in content["images"]:
            if isinstance(row, dict) and isinstance(row.get("file_name"), str):
                pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / row["file_name"])
        (folder / "labels.json").write_text(json.dumps(content), encoding="utf-8")
        return DataSource(image_dir=str(folder), json_file=str(folder / "labels.json"))

    return write


@pytest.fixture
def largest_file() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file of this process grow beyond so many bytes in a block: as on a full disk.

    In the block alone: pytest itself may write to a file.
    """
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets; a test that asks for it is skipped without it."""
    default = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("DDETR_DATA", default))
    if not folder.is_dir():
        pytest.skip("the real data sets are not here; name their folder in DDETR_DATA")
    return folder


@pytest.fixture(scope="module")
def s3_server() -> Iterator[None]:
    """An S3 server on the loopback, which URLs of this process lead to."""
    s3fs = pytest.importorskip("s3fs", reason="the extra [remote] is not installed")
    server_module = pytest.importorskip("moto.server", reason="moto and flask are not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        yield
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: None) -> str:
    """The URL of a bucket of that server with nothing in it."""
    import fsspec

    bucket = f"bucket-{next(BUCKETS)}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}"
