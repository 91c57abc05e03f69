"""Every wrong setting is refused by name before torch is loaded."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from ddetr_model.config import LossConfig, ModelConfig

BAD_VALUES = [
    ({"backbone": "resnet50"}, "did you mean resnet_50"),
    ({"backbone": "timm:"}, "timm:<name>"),
    ({"num_feature_levels": 3}, "num_feature_levels must equal the length"),
    ({"num_feature_levels": 6}, "num_feature_levels"),
    ({"return_interm_indices": (2, 1)}, "return_interm_indices must be one of"),
    ({"num_feature_levels": 1, "return_interm_indices": (5,)}, "return_interm_indices"),
    ({"hidden_dim": 100}, "hidden_dim must be divisible by nheads and by 32"),
    ({"nheads": 7}, "nheads"),
    ({"enc_layers": 0}, "enc_layers"),
    ({"dec_layers": -1}, "dec_layers"),
    ({"num_queries": 0}, "num_queries"),
    ({"dim_feedforward": 0}, "dim_feedforward"),
    ({"dropout_ratio": 1.5}, "dropout_ratio"),
    ({"dropout_ratio": float("nan")}, "dropout_ratio"),
    ({"num_select": 0}, "num_select"),
    ({"num_select": 300 * 91 + 1}, "num_queries x num_classes = 27300"),
    ({"two_stage": True, "with_box_refine": False}, "two_stage needs with_box_refine"),
    ({"dilation": True, "backbone": "gc_vit_tiny"}, "dilation needs backbone resnet_50"),
    ({"num_classes": 0}, "num_classes"),
    ({"unknown": 1}, "unknown"),
    ({"aux_loss": False}, "aux_loss"),  # which is no part of the architecture
]
BAD_LOSSES = [
    ({"cls_loss_coef": 0}, "cls_loss_coef"),
    ({"focal_alpha": 0}, "focal_alpha"),
    ({"loss_types": ("masks",)}, "loss_types"),
    ({"loss_types": ()}, "loss_types"),
    ({"denoising_groups": -1}, "denoising_groups"),
    ({"denoising_box_noise": 1}, "denoising_box_noise"),
    ({"num_classes": 3}, "num_classes"),
]


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [(ModelConfig, *case) for case in BAD_VALUES] + [(LossConfig, *case) for case in BAD_LOSSES],
)
def test_bad_value_is_refused_by_name(kind, fields, text):
    """The error names the field and says what it may be."""
    with pytest.raises(ValidationError) as error:
        kind(**fields)
    assert text in str(error.value)


@pytest.mark.parametrize("indices", [(0, 1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3), (1, 2), (1,), (3,)])
def test_documented_feature_lists_are_accepted(indices):
    """The page's lists and the published single scale are all known."""
    config = ModelConfig(return_interm_indices=list(indices), num_feature_levels=len(indices))
    assert config.return_interm_indices == indices


def test_default_num_select_shrinks_to_what_exists():
    """Ten queries of three classes are thirty pairs, whatever the default says."""
    assert ModelConfig(num_queries=10, num_classes=3).num_select == 30


def test_importing_the_package_loads_no_torch():
    """Checking a spec must stay fast, so torch waits until a model is asked for."""
    code = "import sys, ddetr_model, ddetr_model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    """Lazily exported names exist and an unknown one is an AttributeError."""
    import ddetr_model

    for name in ddetr_model.__all__:
        assert getattr(ddetr_model, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = ddetr_model.nothing
