"""One COCO file as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddetr_data.coco._category_table import read_categories
from ddetr_data.coco._images import ImageReader
from ddetr_data.coco._objects import ObjectReader
from ddetr_data.coco.image_table import ImageColumns, ends_of
from ddetr_data.coco.json_files import STREAMED_FROM_BYTES, read_json_object
from ddetr_data.faults import FaultLog, Losses
from ddetr_data.locations import AnyFile
from ddetr_data.types import Category


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What one file holds; an image id is -1 where the file's own cannot be kept."""

    path: AnyFile
    categories: tuple[Category, ...]
    columns: ImageColumns
    losses: Losses


def read_coco_file(
    path: AnyFile,
    image_dir: str,
    faults: FaultLog,
    *,
    source: int = 0,
    skip_unreadable: bool = False,
    ignore_regions: bool = False,
    streamed_from_bytes: int = STREAMED_FROM_BYTES,
) -> CocoFile:
    """Read and clean one file; annotations belong to images of the same file.

    Args:
        path: the file.
        image_dir: folder of its images.
        faults: gets what is mended or left out.
        source: number of the data source.
        skip_unreadable: leave out images without a size that cannot be read.
        ignore_regions: objects that are marked `ignore` are regions, and no objects.
        streamed_from_bytes: as read_json_object.

    Raises:
        DataError: something that no rule mends; the text names the file and the row.
    """
    content = read_json_object(path, faults, streamed_from_bytes=streamed_from_bytes)
    categories = read_categories(content.pop("categories", None), path, faults)
    images = ImageReader(image_dir, faults, skip_unreadable).read(content.pop("images", None), path)
    reader = ObjectReader(path, faults, images, categories, ignore_regions)
    counts, objects = reader.read(content.pop("annotations", None))
    names = [name.encode("utf-8", "surrogatepass") for name in images.names]
    columns = ImageColumns(
        ids=images.ids(),
        sizes_wh=images.size_array_wh(),
        sources=np.full(len(names), source, np.int32),
        names=np.frombuffer(b"".join(names), np.uint8),
        name_ends=ends_of(np.array([len(name) for name in names], np.int64)),
        object_ends=ends_of(counts),
        **vars(objects),
    )
    return CocoFile(path, categories, columns, reader.losses)
