"""Runs with parts of one's own: a network that is handed in, and losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from ddetr_model import (
    DeformableDETR,
    DeformableTransformer,
    DetectorOutput,
    LossConfig,
    ModelConfig,
    SetCriterion,
    parts_from_outside,
    read_metadata,
)
from ddetr_model.decoder import DeformableDecoderLayer
from ddetr_train.config import TrainConfig
from ddetr_train.engine import train
from ddetr_train.nan import NonFiniteError, replay
from ddetr_train.torch_detector import TorchDetector

here = __name__  # the module of the parts, in the names of their classes


class Gated(DeformableDecoderLayer):
    """A decoder layer that learns how much of itself to add."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.gate = nn.Parameter(torch.ones(1))

    def forward(self, content: Tensor, *others: object) -> Tensor:
        return content + self.gate * super().forward(content, *others)


class WithSizes(SetCriterion):
    """The stock losses, and one that wants few boxes to be large."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__(config)
        self.weights["loss_size"] = 0.1

    def forward(self, outputs: DetectorOutput, *others: object) -> dict[str, Tensor]:
        losses = super().forward(outputs, *others)
        return losses | {"loss_size": outputs.pred_boxes[..., 2:].prod(-1).mean()}


@pytest.fixture
def build(model_config):
    """Build the same network again and again, with a decoder layer of one's own."""

    def make() -> DeformableDETR:
        torch.manual_seed(1)
        transformer = DeformableTransformer(model_config, decoder_layer=Gated)
        return DeformableDETR(model_config, transformer=transformer)

    return make


@pytest.fixture
def run(dataset, tmp_path, recorder):
    """Train for some epochs in tmp_path / "run"."""

    def train_some(model, epochs: int, **parts):
        config = TrainConfig(num_epochs=epochs, accelerator="cpu", activation_checkpoint=False)
        return train(model, dataset, config, tmp_path / "run", observers=[recorder], **parts)

    return train_some


def test_a_network_that_is_handed_in_trains_and_resumes(run, build, recorder) -> None:
    """Its own weights move, it goes on from its checkpoint, and the file names its class."""
    network = build()
    result = run(network, 1)
    assert network.transformer.decoder.layers[0].gate.item() != 1.0
    parts = read_metadata(result.latest_checkpoint).parts
    assert parts == {"transformer.decoder.layers": f"{here}.Gated"}
    again = build()
    assert run(again, 2).epochs == 2
    assert recorder.of("finished")[-1].message.startswith("trained 2 epochs")


def test_a_run_is_not_continued_as_the_stock_network(run, build, model_config) -> None:
    """The difference is named before anything is trained."""
    run(build(), 1)
    with pytest.raises(ValueError, match=rf"part\.transformer\.decoder\.layers is {here}\.Gated"):
        run(model_config, 2)


def test_a_detector_is_made_of_the_network_that_is_given(run, build, dataset) -> None:
    """The stock one refuses the file and says whose class it is."""
    path = Path(run(build(), 1).latest_checkpoint)
    with pytest.raises(ValueError, match=rf"layers is {here}\.Gated\): build that network"):
        TorchDetector(path)
    (image,) = list(Path(dataset.infer_data_sources.image_dir[0]).glob("*.jpg"))[:1]
    (found,) = TorchDetector(path, network=build()).predict([image])
    assert len(found.scores) > 0


def test_a_loss_of_ones_own_is_trained(run, model_config) -> None:
    """It is weighed into the total, and a run goes on with the same losses alone."""
    criterion = WithSizes(LossConfig())
    result = run(model_config, 1, criterion=criterion)
    stored = torch.load(result.latest_checkpoint, weights_only=True)["hyper_parameters"]
    assert stored["parts"] == {"criterion": f"{here}.WithSizes"}
    assert read_metadata(result.latest_checkpoint).parts == {}  # losses detect nothing
    with pytest.raises(ValueError, match=rf"part\.criterion is {here}\.WithSizes there and None"):
        run(model_config, 2)
    assert run(model_config, 2, criterion=criterion).epochs == 2


def test_a_replay_needs_the_network_of_the_run(run, build) -> None:
    """The evidence names the class, and the network that is given repeats the step."""
    network = build()
    with torch.no_grad():
        network.transformer.decoder.layers[0].gate.fill_(float("inf"))
    with pytest.raises(NonFiniteError) as caught:
        run(network, 1)
    with pytest.raises(ValueError, match=rf"layers is {here}\.Gated\): build that network"):
        replay(caught.value.evidence)
    assert replay(caught.value.evidence, network=build()).first_bad


def test_a_part_that_fsdp_has_split_keeps_its_name(build) -> None:
    """FSDP puts a class of its own in front, which is nobody's part."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        network, mesh = build(), init_device_mesh("cpu", (1,))
        for module in (*network.transformer.decoder.layers, network.backbone[0], network):
            fully_shard(module, mesh=mesh)
        assert parts_from_outside(network) == {"transformer.decoder.layers": f"{here}.Gated"}
    finally:
        torch.distributed.destroy_process_group()
