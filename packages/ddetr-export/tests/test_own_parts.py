"""Networks with parts of one's own: what they say of their plain form, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("timm")

from torch import nn  # noqa: E402

from ddetr_export import ExportConfig, ExportError, export_onnx  # noqa: E402
from ddetr_export.graph import ExportGraph, make_draft  # noqa: E402
from ddetr_export.onnx import ExportMetadata  # noqa: E402
from ddetr_model import (  # noqa: E402
    DeformableDETR,
    DeformableTransformer,
    ModelConfig,
    save_checkpoint,
)
from ddetr_model.decoder import DeformableDecoderLayer  # noqa: E402
from ddetr_model.encoder import DeformableEncoderLayer  # noqa: E402

SIZE_HW = (64, 96)
TOLERANCE = 1e-4  # float32, sums in another order
CONFIG = ModelConfig(
    backbone="timm:test_resnet",
    num_classes=3,
    hidden_dim=32,
    nheads=4,
    enc_layers=1,
    dec_layers=2,
    dim_feedforward=48,
    num_queries=15,
    num_select=10,
)


class Gated(DeformableDecoderLayer):
    """Keeps the stock layer's attentions, so that its plain form is the stock layer's."""

    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Parameter(torch.tensor(0.5))

    def forward(self, content, *others):
        return content + self.gate * super().forward(content, *others)


class Silent(nn.Module):
    """An encoder layer of its own making that says no plain form."""

    def __init__(self, config):
        super().__init__()
        self.look = DeformableEncoderLayer(config).self_attn

    def forward(self, pixels, reference_points, pyramid):
        shapes_hw = pyramid.shapes_hw
        return pixels + self.look(pixels, reference_points, pixels, shapes_hw, None, None)


class Telling(Silent):
    """The same, saying it."""

    def export_form(self, forms):
        self.look = forms.deformable_attention(self.look)
        return self


class Unwritable(nn.Module):
    """An encoder layer without attention whose operator ONNX does not have."""

    def __init__(self, config):
        super().__init__()
        self.mix = nn.Linear(config.hidden_dim, config.hidden_dim)

    def forward(self, pixels, reference_points, pyramid):
        return torch.special.bessel_j0(self.mix(pixels))


@pytest.fixture
def build():
    """Give a factory of networks with layers of one's own, their weights off the start."""

    def make(**layers) -> DeformableDETR:
        network = DeformableDETR(CONFIG, transformer=DeformableTransformer(CONFIG, **layers))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        return network.eval()

    return make


def draft_of(network, **settings):
    height, width = SIZE_HW
    config = ExportConfig(input_height=height, input_width=width, **settings)
    return make_draft(network, config, ExportMetadata((), {}, CONFIG.model_dump(mode="json")))


@pytest.mark.parametrize("layers", [{"decoder_layer": Gated}, {"encoder_layer": Telling}])
def test_layers_that_say_their_plain_form_are_exported(build, layers) -> None:
    """ONNX Runtime computes what PyTorch computes."""
    network = build(**layers)
    _, draft = draft_of(network)
    images = torch.randn(2, 3, *SIZE_HW)
    with torch.no_grad():
        expected = network(images)
    session = onnxruntime.InferenceSession(draft.SerializeToString())
    found = session.run(["pred_logits", "pred_boxes"], {"inputs": images.numpy()})
    for array, tensor in zip(found, expected[:2], strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), atol=TOLERANCE)


def test_a_checkpoint_is_exported_as_the_network_that_is_given(build, tmp_path) -> None:
    """The file alone is refused by the name of the class; the proof is the same for any network."""
    checkpoint, path = tmp_path / "mine.pth", tmp_path / "mine.onnx"
    save_checkpoint(build(decoder_layer=Gated), checkpoint)
    config = ExportConfig(input_height=SIZE_HW[0], input_width=SIZE_HW[1])
    with pytest.raises(ValueError, match=r"decoder\.layers is .*\.Gated\): build that network"):
        export_onnx(checkpoint, path, config)
    report = export_onnx(checkpoint, path, config, network=build(decoder_layer=Gated))
    assert report.max_error_logits < TOLERANCE
    assert path.is_file()


def test_plugin_nodes_are_counted_by_layer(build) -> None:
    """Each attention's output is stated with its own number of queries."""
    graph = ExportGraph(build(encoder_layer=Telling, decoder_layer=Gated), SIZE_HW)
    assert graph.attention_queries() == [sum(h * w for h, w in graph.shapes_hw), 15, 15]
    _, draft = draft_of(build(encoder_layer=Telling), on_cpu=False)
    assert sum(node.op_type.startswith("Multiscale") for node in draft.graph.node) == 3


def test_a_layer_without_a_plain_form_is_named(build) -> None:
    """The text says which, and what to give it."""
    advice = r"an export_form\(forms\) that puts forms\.deformable_attention\(self\.look\)"
    told = rf"encoder\.layers\.0 \(.*\.Silent\) cannot be exported: .*{advice}"
    with pytest.raises(ValueError, match=told):
        draft_of(build(encoder_layer=Silent))


def test_what_the_exporter_cannot_write_is_one_sentence(build) -> None:
    """It names the parts from outside, not the exporter's own trouble alone."""
    told = r"encoder\.layers \(.*\.Unwritable\) cannot be written as ONNX: .*bessel_j0"
    with pytest.raises(ExportError, match=told):
        draft_of(build(encoder_layer=Unwritable))


def test_the_network_stays_as_it_is(build) -> None:
    """Parts change themselves in a copy."""
    network = build(decoder_layer=Gated, encoder_layer=Telling)
    before = [type(module) for module in network.modules()]
    ExportGraph(network, SIZE_HW)
    assert [type(module) for module in network.modules()] == before
