"""Everything that a folder, a file or a list of them holds, labelled: images and videos."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from ddetr_data.categories import ids_by_name, refuse_other_order
from ddetr_data.config import ClassMatch, DatasetConfig
from ddetr_data.detection._pipeline import label_batches
from ddetr_data.detection.config import InferenceConfig
from ddetr_data.detection.detector import Detector, fill_in_white, setup_notices, white_of
from ddetr_data.detection.events import Observer, Progress, RunEvent, emit
from ddetr_data.detection.media import Media, NamedVideo, annotated_names, find_media, named_videos
from ddetr_data.detection.rank_slice import ALONE, RankSlice
from ddetr_data.detection.result_writer import Labelled, LeftOut, NamedImage, ResultWriter
from ddetr_data.detection.spec_thresholds import threshold_for
from ddetr_data.detection.summary import InferenceSummary, counted
from ddetr_data.faults import DataError
from ddetr_data.formats import label_names, number_categories, read_classmap
from ddetr_data.images import (
    Frame,
    WhiteLevels,
    class_colors,
    open_video,
    read_image,
)
from ddetr_data.parallel import WorkAhead
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
    <video>#7 in the files of all detections. While the detector runs, dataset.workers threads, at
    most one a core, read what comes next and write what was found; so many images, and the batches
    beside them, are in memory. Files that do not decode are left out, logged and listed, and so are
    results of one image that cannot be written.
    Processes that divide the files all get the summary of all of them; the first one reports.

    Raises:
        FileNotFoundError: a folder or the classmap is not there, or there is no image.
        ValueError: no image source, a colour that is none, a threshold of a class that is not
            there, a classmap of another number of names than there are classes, or not one of the
            files decodes.
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
    threshold_for(config, categories)
    fill_in_white(detector, dataset)
    for text in setup_notices(detector, dataset):
        emit(observers, RunEvent("notice", text))
    return PreparedLabelling(
        detector, images, videos, categories, config, observers, dataset.workers
    )


@dataclass(frozen=True)
class PreparedLabelling:
    """Images and videos to label whose options have been checked, before the first is read."""

    detector: Detector
    images: Media
    videos: Media
    categories: tuple[Category, ...]
    config: InferenceConfig
    observers: Sequence[Observer]
    workers: int = 0  # threads that read and write

    def run(
        self, results_dir: str | os.PathLike[str], ranks: RankSlice = ALONE
    ) -> InferenceSummary:
        """Detect, and write the files that `label` describes."""
        observers = self.observers if ranks.is_first else ()
        nouns = ((self.images, "image"), (self.videos, "video"))
        there = " and ".join(counted(len(each), noun) for each, noun in nouns if each)
        with (
            ResultWriter(results_dir, self.categories, self.config, ranks) as writer,
            WorkAhead(self.workers) as threads,
        ):
            total = len(self.images)
            emit(observers, RunEvent("started", f"labelling {there}", total_steps=total))
            labelling = _Labelling(self.detector, writer, threads)
            labelling.label_images(self.images, Progress(observers), ranks)
            named = named_videos(self.videos)
            for position in ranks.of(len(named)):
                progress = Progress(observers, f"frames of {named[position].relative.as_posix()}")
                labelling.label_video(named[position], progress)
            summary = writer.finish()
        text = f"{summary.detections} detections in {summary.extent}"
        emit(observers, RunEvent("finished", text, metrics=summary.figures))
        return summary


class _Names(NamedTuple):
    """The files of each image's results, by its relative path."""

    labels: Mapping[Path, Path]
    annotated: Mapping[Path, Path]


@dataclass(frozen=True)
class _Labelling:
    detector: Detector
    writer: ResultWriter
    threads: WorkAhead

    def label_images(self, images: Media, progress: Progress, ranks: RankSlice) -> None:
        relatives = [relative for _, relative in images]
        names = _Names(label_names(relatives), annotated_names(relatives))
        mine = ranks.of(len(images), self.detector.batch_size)
        read = partial(_read, names=names, white=white_of(self.detector))
        opened = self.threads.map(read, images[mine.start : mine.stop], self._images_ahead)
        done = 0
        for batch in label_batches(self.detector, opened, self.writer.write, self.threads):
            for each in batch:
                self.writer.count(each)
            done += len(batch)
            progress(done, len(mine))

    def label_video(self, video: NamedVideo, progress: Progress) -> None:
        with ExitStack() as stack:
            try:
                source = stack.enter_context(open_video(video.path))
            except DataError as error:
                self.writer.count(LeftOut(video.path, error))
                return
            target = self.writer.videos_dir / video.annotated
            write = stack.enter_context(source.copied_to(target))
            # Frames are decoded and encoded in their order: each by one thread of its own.
            one = min(1, self.threads.threads)
            decoder, encoder = (stack.enter_context(WorkAhead(one)) for _ in range(2))
            decoded = decoder.map(lambda _: next(source.frames, None), count(), self._images_ahead)
            times: deque[int | None] = deque()  # of the frames that are not encoded yet
            named = _named_frames(decoded, video, times)
            batches = label_batches(self.detector, named, self.writer.write, self.threads)
            done, total = 0, source.stated_frames
            progress(done, total)
            for batch in encoder.map(partial(_encode, write, times), batches, ahead=1):
                for each in batch:
                    self.writer.count(each)
                done += len(batch)
                progress(done, None if total is None else max(total, done))
        self.writer.count_video()

    @property
    def _images_ahead(self) -> int:
        return self.threads.threads + self.detector.batch_size


def _read(file: tuple[Path, Path], *, names: _Names, white: WhiteLevels) -> NamedImage | LeftOut:
    path, relative = file
    try:
        pixels = read_image(path, white=white)
    except (DataError, FileNotFoundError) as error:
        return LeftOut(path, error)
    annotated = names.annotated[relative]
    return NamedImage(pixels, relative.as_posix(), names.labels[relative], annotated)


def _named_frames(
    frames: Iterable[Frame | None], video: NamedVideo, times: deque[int | None]
) -> Iterator[NamedImage]:
    for number, frame in enumerate(frames):
        if frame is None:  # after the last one
            return
        times.append(frame.shown_at)
        name = f"{video.relative.as_posix()}#{number}"
        yield NamedImage(frame.image, name, video.relative / f"{number:06d}.txt")


def _encode(
    write: Callable[[Frame], None], times: deque[int | None], batch: list[Labelled | LeftOut]
) -> list[Labelled | LeftOut]:
    for each in batch:
        if isinstance(each, Labelled) and each.drawn is not None:
            write(Frame(each.drawn, times.popleft()))
    return batch


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
        raise DataError(
            f"{classmap} names {len(names)} classes, the model has {len(known)}; give one for each"
        )
    ids = known or number_categories(names)
    named = tuple(Category(each.id, name) for each, name in zip(ids, names, strict=True))
    if match_classes == "id":
        refuse_other_order(known, named, first_name="the model", second_name=classmap)
        return named
    if unknown := [each.name for each in named if each.id not in ids_by_name(known, named)]:
        names_told = ", ".join(map(repr, unknown))
        raise DataError(
            f"{classmap} has the classes {names_told}, which the model does not name; give its own"
        )
    return known or named
