"""Everything that a folder, a file or a list of them holds, labelled: images and videos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ddetr_data.categories import ids_by_name, refuse_other_order
from ddetr_data.config import ClassMatch, DatasetConfig
from ddetr_data.detection.config import InferenceConfig
from ddetr_data.detection.detector import Detector, detect, fill_in_white, setup_notices, white_of
from ddetr_data.detection.events import Observer, Progress, RunEvent, emit
from ddetr_data.detection.media import Media, NamedVideo, annotated_names, find_media, named_videos
from ddetr_data.detection.rank_slice import ALONE, RankSlice
from ddetr_data.detection.result_writer import NamedImage, ResultWriter
from ddetr_data.detection.summary import InferenceSummary, counted
from ddetr_data.faults import DataError
from ddetr_data.formats import label_names, number_categories, read_classmap
from ddetr_data.images import WhiteLevels, class_colors, open_video, read_image
from ddetr_data.types import Category


def label(
    detector: Detector,
    dataset: DatasetConfig,
    config: InferenceConfig,
    results_dir: str | os.PathLike[str],
    *,
    observers: Sequence[Observer] = (),
    ranks: RankSlice = ALONE,
) -> InferenceSummary:
    """Write what is found in dataset.infer_data_sources, as ResultWriter does.

    An image gets `labels/<image>.txt` and a copy below `images_annotated/`, a JPEG or a PNG; a
    video gets `labels/<video>/<frame>.txt` and `videos_annotated/<video>`, and its frame 7 is
    <video>#7 in the files of all detections. One batch is in memory at a time. Files that do not
    decode are left out, logged and listed, and so are results of one image that cannot be written.
    Processes that divide the files all get the summary of all of them; the first one reports.

    Raises:
        FileNotFoundError: a folder or the classmap is not there, or there is no image.
        ValueError: no image source, a colour that is none, a classmap of another number of names
            than there are classes, or not one of the files decodes.
        OSError: a file cannot be written.
    """
    observers = observers if ranks.is_first else ()
    return prepare_labelling(detector, dataset, config, observers=observers).run(results_dir, ranks)


def prepare_labelling(
    detector: Detector,
    dataset: DatasetConfig,
    config: InferenceConfig,
    *,
    observers: Sequence[Observer] = (),
) -> PreparedLabelling:
    """Find the files, and check the names and colours of the classes; nothing is written.

    Raises:
        FileNotFoundError, ValueError: as label.
    """
    source = dataset.infer_data_sources
    if source is None:
        raise ValueError("inference needs dataset.infer_data_sources.image_dir")
    images, videos = find_media(source.image_dir, by_own_folder=config.is_internal)
    categories = _named_by_classmap(source.classmap, detector.categories, dataset.match_classes)
    class_colors(categories, config.color_map)
    fill_in_white(detector, dataset)
    for text in setup_notices(detector, dataset):
        emit(observers, RunEvent("notice", text))
    return PreparedLabelling(detector, images, videos, categories, config, observers)


@dataclass(frozen=True)
class PreparedLabelling:
    """Images and videos to label whose options have been checked, before the first is read."""

    detector: Detector
    images: Media
    videos: Media
    categories: tuple[Category, ...]
    config: InferenceConfig
    observers: Sequence[Observer]

    def run(
        self, results_dir: str | os.PathLike[str], ranks: RankSlice = ALONE
    ) -> InferenceSummary:
        """Detect, and write the files that `label` describes."""
        observers = self.observers if ranks.is_first else ()
        nouns = ((self.images, "image"), (self.videos, "video"))
        there = " and ".join(counted(len(each), noun) for each, noun in nouns if each)
        with ResultWriter(results_dir, self.categories, self.config, ranks) as writer:
            total = len(self.images)
            emit(observers, RunEvent("started", f"labelling {there}", total_steps=total))
            _label_images(self.detector, self.images, writer, Progress(observers), ranks)
            named = named_videos(self.videos)
            for position in ranks.of(len(named)):
                progress = Progress(observers, f"frames of {named[position].relative.as_posix()}")
                _label_video(self.detector, named[position], writer, progress)
            summary = writer.finish()
        text = f"{summary.detections} detections in {summary.extent}"
        emit(observers, RunEvent("finished", text, metrics=summary.figures))
        return summary


class _Names(NamedTuple):
    """The files of each image's results, by its relative path."""

    labels: Mapping[Path, Path]
    annotated: Mapping[Path, Path]


def _label_images(
    detector: Detector, images: Media, writer: ResultWriter, progress: Progress, ranks: RankSlice
) -> None:
    relatives = [relative for _, relative in images]
    names = _Names(label_names(relatives), annotated_names(relatives))
    step = detector.batch_size
    mine = ranks.of(len(images), step)
    for start in mine[::step]:
        batch = images[start : min(start + step, mine.stop)]
        named = list(_readable(batch, names, writer, white_of(detector)))
        found = detect(detector, [image.pixels for image in named])
        for image, detections in zip(named, found, strict=True):
            writer.add(image, detections)
        progress(start + len(batch) - mine.start, len(mine))


def _readable(
    batch: Media, names: _Names, writer: ResultWriter, white: WhiteLevels
) -> Iterator[NamedImage]:
    for path, relative in batch:
        try:
            pixels = read_image(path, white=white)
        except (DataError, FileNotFoundError) as error:
            writer.leave_out(path, error)
        else:
            yield NamedImage(
                pixels, relative.as_posix(), names.labels[relative], names.annotated[relative]
            )


def _label_video(
    detector: Detector, video: NamedVideo, writer: ResultWriter, progress: Progress
) -> None:
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open_video(video.path))
        except DataError as error:
            writer.leave_out(video.path, error)
            return
        write = stack.enter_context(source.copied_to(writer.videos_dir / video.annotated))
        done, total = 0, source.stated_frames
        progress(done, total)
        while frames := list(islice(source.frames, detector.batch_size)):
            images = [
                NamedImage(
                    frame.image,
                    f"{video.relative.as_posix()}#{number}",
                    video.relative / f"{number:06d}.txt",
                )
                for number, frame in enumerate(frames, start=done)
            ]
            found = detect(detector, [image.pixels for image in images])
            for frame, image, detections in zip(frames, images, found, strict=True):
                write(replace(frame, image=writer.add(image, detections)))
            done += len(frames)
            progress(done, None if total is None else max(total, done))
    writer.count_video()


def _named_by_classmap(
    classmap: str | None, known: tuple[Category, ...], match_classes: ClassMatch
) -> tuple[Category, ...]:
    """Take the classmap's names in the order of the known ids; without any, ids count from 1.

    Names that the model has too stand for the ids that they have there.
    """
    if classmap is None:
        return known
    names = read_classmap(classmap)
    if known and len(known) != len(names):
        raise DataError(f"{classmap} names {len(names)} classes, the model has {len(known)}")
    ids = known or number_categories(names)
    named = tuple(Category(each.id, name) for each, name in zip(ids, names, strict=True))
    if match_classes == "id":
        refuse_other_order(known, named, first_name="the model", second_name=classmap)
        return named
    if unknown := [each.name for each in named if each.id not in ids_by_name(known, named)]:
        names_told = ", ".join(map(repr, unknown))
        raise DataError(f"{classmap} has the classes {names_told}, which the model does not name")
    return known or named
