"""Small detection sets drawn from a seed: textured grounds, several shapes, sizes, occlusions."""

from ddetr_data.synthetic.dataset import SyntheticDataset, make_dataset
from ddetr_data.synthetic.scene import Scene, SceneConfig, SceneObject, draw_scene
from ddetr_data.synthetic.shapes import SHAPES, draw_mask

__all__ = [
    "SHAPES",
    "Scene",
    "SceneConfig",
    "SceneObject",
    "SyntheticDataset",
    "draw_mask",
    "draw_scene",
    "make_dataset",
]
