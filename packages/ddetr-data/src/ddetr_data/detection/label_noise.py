"""Which labels a detector doubts: likely missing, wrong, loose, spurious and doubled boxes.

The thresholds follow confident learning (Northcutt, Jiang, Chuang: Confident Learning: Estimating
Uncertainty in Dataset Labels, JAIR 2021): a detection of a class is confident where its score is
at least what the detector gives to most objects that are labelled so. No score has to be a
probability, and a class that is hard has a lower threshold. Theirs is the mean, which leaves out
half of all faults at once; here it is a lower quantile, and the ranking does the rest. Which
faults there are, and that each label is judged by its best detections, is ObjectLab's idea
(Tkachenko, Thyagarajan, Mueller: ObjectLab: Automated Diagnosis of Mislabeled Images in Object
Detection Data, 2023).

N objects and K detections of one image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddetr_data.scoring import overlaps
from ddetr_data.types import Annotations, Detections, ImageRecord

NoiseKind: TypeAlias = Literal["missing", "class", "box", "spurious", "doubled"]
KINDS: tuple[NoiseKind, ...] = ("missing", "class", "box", "spurious", "doubled")

# From this overlap on a detection and a label are of one object, as in AP50.
SAME_OBJECT_IOU = 0.5
# A box that fits this well is right: labels of one object by two people differ by as much.
GOOD_BOX_IOU = 0.6
# Below it a label and a detection have nothing to do with each other.
APART_IOU = 0.3
# A confident detection without a label must keep clear of all labels: half of a loose one is none.
NO_LABEL_IOU = 0.2
# Two labels of a class that overlap more are of one object, unless there are two detections.
DOUBLED_IOU = 0.7
# Parts of a threshold: a label with less than the first has no support of its own class, one
# with less than the second has no detection at all.
NO_SUPPORT = 0.5
NO_DETECTION = 0.25
# Of the scores of labelled objects: what three in four of them have is confident.
CONFIDENT_QUANTILE = 0.25
# Objects of a class that its threshold needs; with fewer it is that of all classes together.
FEWEST_OBJECTS = 5
_NO_THRESHOLD = 0.5  # where nothing at all is supported


@dataclass(frozen=True, eq=False)
class LabelDoubt:
    """A label that is likely wrong, or one that is likely missing."""

    kind: NoiseKind
    image_id: int
    score: float  # from 0 to 1; the larger, the surer
    object_index: int | None = None  # of the image's annotations; None: missing
    twin_index: int | None = None  # of the other label of a doubled one
    suggested_label: int | None = None  # category id; None: no object
    suggested_xyxy: tuple[float, float, float, float] | None = None  # None: as it is, or none


@dataclass
class LabelSearch:
    """Takes the detections of images, then lists doubts; see `add_detections`.

    Attributes:
        images: the labelled images by id.
    """

    images: Mapping[int, ImageRecord]
    _found: dict[int, Detections] = field(default_factory=dict)

    def add(self, image_id: int, found: Detections, /) -> None:
        """Take what was found in an image."""
        self._found[image_id] = found

    def confident_scores(self) -> dict[int, float]:
        """Give the score from which a detection of a class is confident, by category id."""
        supports: dict[int, list[float]] = defaultdict(list)
        for image_id, found in self._found.items():
            view = _View(self.images[image_id].annotations, found)
            for index, label in zip(view.objects, view.labels.tolist(), strict=True):
                own = view.best(index, view.is_of(label), SAME_OBJECT_IOU)
                if own is not None:
                    supports[label].append(float(found.scores[own]))
        everyone = [score for scores in supports.values() for score in scores]
        usual = float(np.quantile(everyone, CONFIDENT_QUANTILE)) if everyone else _NO_THRESHOLD
        labels = {id for record in self.images.values() for id in record.labels.tolist()}
        labels |= {id for found in self._found.values() for id in found.labels.tolist()}
        return {
            label: float(np.quantile(scores, CONFIDENT_QUANTILE))
            if len(scores) >= FEWEST_OBJECTS
            else usual
            for label in sorted(labels)
            for scores in [supports.get(label, [])]
        }

    def doubts(self) -> list[LabelDoubt]:
        """List the doubts of all images, the surest first."""
        confident = self.confident_scores()
        listed = [
            doubt
            for image_id, found in self._found.items()
            for doubt in _doubts_of(self.images[image_id], found, confident)
        ]
        return sorted(listed, key=lambda doubt: (-doubt.score, doubt.image_id))


class _View:
    """One image: its labels without crowds, its detections, and how they overlap."""

    def __init__(self, annotations: Annotations, found: Detections) -> None:
        self.annotations, self.found = annotations, found
        self.objects = np.flatnonzero(~annotations.is_crowd).tolist()
        self.labels = annotations.labels[self.objects]
        boxes = found.boxes_xyxy.astype(np.float64)
        self.iou = overlaps(boxes, annotations)  # (K, N), of a crowd the covered part
        self.scores = found.scores.astype(np.float64)

    def is_of(self, label: int) -> NDArray[np.bool_]:
        """Which detections (K,) are of a class."""
        is_of_class: NDArray[np.bool_] = self.found.labels == label
        return is_of_class

    def best(self, index: int, mask: NDArray[np.bool_], least_iou: float) -> int | None:
        """The detection with the highest score among those that overlap an object enough."""
        near = np.flatnonzero(mask & (self.iou[:, index] >= least_iou))
        return int(near[self.scores[near].argmax()]) if len(near) else None

    def support(self, index: int, mask: NDArray[np.bool_], least_iou: float) -> float:
        """The score of that one, 0 without any."""
        best = self.best(index, mask, least_iou)
        return 0.0 if best is None else float(self.scores[best])

    def owner(self, detection: int) -> int | None:
        """The label that a detection overlaps most."""
        if not self.objects:
            return None
        return int(self.objects[int(self.iou[detection, self.objects].argmax())])

    def corners(self, detection: int) -> tuple[float, float, float, float]:
        left, top, right, bottom = self.found.boxes_xyxy[detection].tolist()
        return left, top, right, bottom


def _doubts_of(
    record: ImageRecord, found: Detections, confident: Mapping[int, float]
) -> Iterator[LabelDoubt]:
    """Each label is doubted in one way at most: the first that applies."""
    view = _View(record.annotations, found)
    least = np.array([confident[label] for label in found.labels.tolist()])
    is_confident = view.scores >= least
    doubled = _doubled(record.id, view, confident)
    yield from doubled.values()
    for index in view.objects:
        if index in doubled:
            continue
        label = int(record.labels[index])
        doubt = (
            _wrong_class(record.id, view, index, is_confident, confident[label])
            or _wrong_box(record.id, view, index, is_confident, confident[label])
            or _spurious(record.id, view, index, confident[label])
        )
        if doubt is not None:
            yield doubt
    yield from _missing(record.id, view, is_confident)


def _doubled(image_id: int, view: _View, confident: Mapping[int, float]) -> dict[int, LabelDoubt]:
    """Pairs of labels of one class and place for which there is one detection; by the worse label.

    Ranked by how much the labels overlap and how much weaker a second detection is.
    """
    doubts: dict[int, LabelDoubt] = {}
    boxes = view.annotations.boxes_xywh.copy()
    boxes[:, 2:] += boxes[:, :2]
    mutual = overlaps(boxes, view.annotations)
    for first, second in _pairs(view.objects):
        label = int(view.annotations.labels[first])
        alike = int(view.annotations.labels[second]) == label
        if not alike or mutual[first, second] < DOUBLED_IOU or {first, second} & doubts.keys():
            continue
        near = view.iou[:, [first, second]].max(1) >= SAME_OBJECT_IOU
        scores = np.sort(view.scores[near & view.is_of(label)])[::-1]
        if not len(scores) or (len(scores) > 1 and scores[1] >= NO_SUPPORT * confident[label]):
            continue
        best = int(np.flatnonzero(near & view.is_of(label))[0])  # detections come best first
        worse, better = sorted((first, second), key=lambda each: view.iou[best, each])
        weaker = 1 - scores[1] / scores[0] if len(scores) > 1 else 1.0
        doubts[worse] = LabelDoubt(
            "doubled", image_id, float(mutual[first, second] * weaker), worse, better
        )
    return doubts


def _wrong_class(
    image_id: int, view: _View, index: int, is_confident: NDArray[np.bool_], threshold: float
) -> LabelDoubt | None:
    """A confident detection of another class fits, and none of its own; ranked by the margin."""
    label = int(view.annotations.labels[index])
    other = view.best(index, is_confident & ~view.is_of(label), SAME_OBJECT_IOU)
    own = view.support(index, view.is_of(label), SAME_OBJECT_IOU)
    if other is None or view.owner(other) != index or own >= NO_SUPPORT * threshold:
        return None
    margin = float(view.scores[other]) - own
    suggested = int(view.found.labels[other])
    return LabelDoubt("class", image_id, margin, index, suggested_label=suggested)


def _wrong_box(
    image_id: int, view: _View, index: int, is_confident: NDArray[np.bool_], threshold: float
) -> LabelDoubt | None:
    """A confident detection of the class fits half, and none better; ranked by score and misfit."""
    label = int(view.annotations.labels[index])
    is_own = view.is_of(label)
    best = view.best(index, is_own & is_confident, APART_IOU)
    if best is None or view.owner(best) != index:
        return None
    iou = float(view.iou[best, index])
    good = view.support(index, is_own, GOOD_BOX_IOU)
    if iou >= GOOD_BOX_IOU or good >= NO_SUPPORT * threshold:
        return None
    score = float(view.scores[best]) * (1 - iou)
    return LabelDoubt("box", image_id, score, index, None, label, view.corners(best))


def _spurious(image_id: int, view: _View, index: int, threshold: float) -> LabelDoubt | None:
    """Nothing of any class is found there; ranked by how sure the detector is of that class."""
    anything = np.ones(len(view.scores), np.bool_)
    found = view.support(index, anything, APART_IOU)
    if found >= NO_DETECTION * threshold:
        return None
    return LabelDoubt("spurious", image_id, threshold - found, index)


def _missing(image_id: int, view: _View, is_confident: NDArray[np.bool_]) -> Iterator[LabelDoubt]:
    """Confident detections away from every label and crowd, one for each place; ranked by score."""
    nearest = view.iou.max(1, initial=0.0)
    taken: list[int] = []
    candidates = np.flatnonzero(is_confident & (nearest < NO_LABEL_IOU))
    for row in candidates[np.argsort(-view.scores[candidates], kind="stable")].tolist():
        others = view.found.boxes_xyxy[taken].astype(np.float64)
        others[:, 2:] -= others[:, :2]
        box = view.found.boxes_xyxy[[row]].astype(np.float64)
        if overlaps(box, _objects(others)).max(initial=0.0) >= SAME_OBJECT_IOU:
            continue
        taken.append(row)
        yield LabelDoubt(
            "missing",
            image_id,
            float(view.scores[row] * (1 - nearest[row])),
            suggested_label=int(view.found.labels[row]),
            suggested_xyxy=view.corners(row),
        )


def _objects(boxes_xywh: NDArray[np.float64]) -> Annotations:
    none = np.zeros(len(boxes_xywh))
    return Annotations(boxes_xywh, none.astype(np.int64), none.astype(np.bool_), none)


def _pairs(items: Sequence[int]) -> Iterator[tuple[int, int]]:
    for position, first in enumerate(items):
        for second in items[position + 1 :]:
            yield first, second
