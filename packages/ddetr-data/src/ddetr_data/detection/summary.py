"""What a run over images and videos found, and where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class InferenceSummary:
    """Counts of what was labelled and found, and the folders of the results."""

    images: int
    detections: int
    per_class: dict[str, int]
    labels_dir: Path
    images_dir: Path
    unreadable: tuple[Path, ...] = ()  # files left out because they do not decode
    unwritten: tuple[Path, ...] = ()  # results of one image that could not be written
    videos: int = 0
    frames: int = 0  # of videos
    videos_dir: Path | None = None

    @property
    def extent(self) -> str:
        """How much was labelled, in words: images, videos and their frames."""
        films = f"{counted(self.videos, 'video')} ({counted(self.frames, 'frame')})"
        if not self.images and self.videos:
            return films
        images = counted(self.images, "image")
        return f"{images}, {films}" if self.videos else images

    @property
    def figures(self) -> dict[str, float]:
        """The counts by name, those of videos and of what failed only where there are any."""
        figures = {"images": self.images, "detections": self.detections}
        if self.videos:
            figures |= {"videos": self.videos, "frames": self.frames}
        if self.unreadable:
            figures["unreadable"] = len(self.unreadable)
        if self.unwritten:
            figures["unwritten"] = len(self.unwritten)
        return {name: float(count) for name, count in figures.items()}

    @staticmethod
    def joined(parts: Sequence[InferenceSummary]) -> InferenceSummary:
        """Add up the parts of several processes, in their order."""
        per_class = sum((Counter(part.per_class) for part in parts), Counter[str]())
        return replace(
            parts[0],
            images=sum(part.images for part in parts),
            detections=sum(part.detections for part in parts),
            per_class=dict(sorted(per_class.items())),
            unreadable=tuple(path for part in parts for path in part.unreadable),
            unwritten=tuple(path for part in parts for path in part.unwritten),
            videos=sum(part.videos for part in parts),
            frames=sum(part.frames for part in parts),
            videos_dir=next((part.videos_dir for part in parts if part.videos_dir), None),
        )


def counted(count: int, noun: str) -> str:
    """Write a number and what it counts: 1 image, 2 images."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
