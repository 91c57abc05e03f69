"""The flat keys of `convert`, as a frozen model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ddetr_data.config import ClassMatch, FrozenModel, Location, MaxDropped


class ConvertConfig(FrozenModel):
    """The flat keys of `convert`: KITTI folders in, COCO shards out, unless `format` says else."""

    format: Literal[
        "kitti_to_coco", "yolo_to_coco", "voc_to_coco", "coco_to_kitti", "coco_to_yolo"
    ] = Field("kitti_to_coco", description="What is read and what is written.")
    input_source: Location | None = Field(
        None,
        description="Text file that names one sequence folder a line (# starts a comment), or one "
        "such folder; for coco_to_*: the COCO JSON (file, folder or glob).",
    )
    results_dir: Location = Field("/results/convert", description="Folder for the shards.")
    image_dir_name: str | None = Field(
        None, description="Folder of the images inside a sequence folder."
    )
    label_dir_name: str | None = Field(
        None, description="Folder of the labels inside a sequence folder."
    )
    num_shards: int = Field(32, gt=0, description="JSON files a partition, at most.")
    num_partitions: int = Field(1, gt=0, description="Partitions (folds) of the data.")
    mapping_path: Location | None = Field(
        None,
        description="JSON file {source class: target class}; absent: the page's 15 names for "
        "kitti_to_coco, else every class under its own name.",
    )
    data_root: Location | None = Field(
        None,
        description="Folder that relative sequence paths and the output's file names start at; "
        "absent: the text file's folder, and the deepest folder that holds all sequences.",
    )
    val_split: float | None = Field(
        None,
        ge=0,
        lt=100,
        description="Percent of the images for validation, partition 0; the rest are partition 1.",
    )
    partition_mode: Literal["random", "sequence"] | None = Field(
        None,
        description="Split image by image (the default), or keep each sequence in one partition.",
    )
    image_extension: str | None = Field(
        None, description="Only images with this ending; absent: every kind that Pillow reads."
    )
    classmap: Location | None = Field(
        None,
        description="Text file, one class name a line in the order of YOLO's class numbers, or "
        "YOLO's data.yaml.",
    )
    missing_labels: Literal["skip", "empty", "error"] = Field(
        "skip",
        description="An image whose label file is missing or cannot be read: leave it out and "
        "count it, keep it without objects, or stop.",
    )
    ignore_regions: bool = Field(
        False,
        description="Write VOC's difficult objects and KITTI's DontCare (once for each class) as "
        "regions, with `ignore: 1` and `iscrowd: 1`, and read COCO's `ignore` as such; false: "
        "difficult and ignored objects are objects like others, DontCare is dropped.",
    )
    match_classes: ClassMatch = Field(
        "id",
        description="Class tables that give an id two names, or a name two ids: id refuses them, "
        "name maps the ids by name.",
    )
    max_dropped: MaxDropped = Field(
        0.5,
        description="Fraction of the objects of mapped classes that the rules for faulty labels "
        "may drop; above it, or where none is left, nothing is written.",
    )
    strict: bool = Field(
        False, description="Stop, writing nothing, when any object or file would be dropped."
    )
    workers: int = Field(0, ge=0, description="Processes that read labels; 0: one for each core.")
    executor: Literal["local", "ray"] = Field(
        "local", description="Where labels are read: on this machine, or on a Ray cluster."
    )

    @model_validator(mode="after")
    def _partitions_agree(self) -> ConvertConfig:
        if self.val_split is not None and self.num_partitions > 2:
            raise ValueError(
                f"val_split ({self.val_split}) makes two partitions, num_partitions "
                f"({self.num_partitions}) must then be 1 or 2"
            )
        return self
