"""Folders of labelled images as people keep them: what is there, and a spec of it."""

from ddetr_cli.layouts.conversion import converted, split_coco
from ddetr_cli.layouts.found import SPLITS, FoundPart, FoundSet, LayoutError, Source, Split
from ddetr_cli.layouts.looking import find_layout
from ddetr_cli.layouts.measuring import Objects, measure_objects
from ddetr_cli.layouts.spec_writing import Weights, spec_text

__all__ = [
    "SPLITS",
    "FoundPart",
    "FoundSet",
    "LayoutError",
    "Objects",
    "Source",
    "Split",
    "Weights",
    "converted",
    "find_layout",
    "measure_objects",
    "spec_text",
    "split_coco",
]
