"""mmdetection 3's checkpoints give the answers of a plain detector with its module tree.

The detector is written from the paper and from the names in mmdetection's files, and shares no code
with ddetr_model. One image size a batch, so there is no padding. B images, S pixels of all levels,
Q queries, M heads, L levels, P points, D channels a head.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from ddetr_model import CheckpointError, import_checkpoint, load_checkpoint

ANSWER_TOLERANCE = 1e-4  # float32 through a ResNet-50: sums in another order
KINDS = {"base": {"refine": False}, "box_refine": {}, "two_stage": {"two_stage": True}}
HEADS, POINTS = 8, 4


class Attention(nn.Module):
    def __init__(self, width, levels):
        super().__init__()
        self.levels = levels
        self.sampling_offsets = nn.Linear(width, HEADS * levels * POINTS * 2)
        self.attention_weights = nn.Linear(width, HEADS * levels * POINTS)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)

    def forward(self, query, reference, memory, shapes):  # reference (B, Q, 2 or 4)
        batch, count, width = query.shape
        value = self.value_proj(memory).reshape(batch, -1, HEADS, width // HEADS)
        offsets = self.sampling_offsets(query)
        offsets = offsets.reshape(batch, count, HEADS, self.levels, POINTS, 2)
        weights = self.attention_weights(query).reshape(batch, count, HEADS, -1).softmax(-1)
        sizes = torch.tensor([[w, h] for h, w in shapes], dtype=torch.float32)[:, None]  # (L, 1, 2)
        center = reference[:, :, None, None, None, :2]
        if reference.shape[-1] == 2:
            places = center + offsets / sizes
        else:
            places = center + offsets / POINTS * reference[:, :, None, None, None, 2:] * 0.5
        sampled = []
        levels = value.split([h * w for h, w in shapes], dim=1)
        for index, ((height, side), pixels) in enumerate(zip(shapes, levels, strict=True)):
            image = (
                pixels.permute(0, 2, 3, 1).flatten(0, 1).reshape(-1, width // HEADS, height, side)
            )
            grid = 2 * places[:, :, :, index].transpose(1, 2).flatten(0, 1) - 1  # (B * M, Q, P, 2)
            sampled.append(F.grid_sample(image, grid, align_corners=False))
        sampled = torch.cat(sampled, dim=-1)  # (B * M, D, Q, L * P)
        weights = weights.transpose(1, 2).flatten(0, 1)[:, None]
        mixed = (sampled * weights).sum(-1).reshape(batch, width, count).transpose(1, 2)
        return self.output_proj(mixed)


class Wrapped(nn.Module):
    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


def perceptron(width, hidden):
    first = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.1))
    return Wrapped(layers=nn.Sequential(first, nn.Linear(hidden, width), nn.Dropout(0.1)))


def norms(width, count):
    return nn.ModuleList(nn.LayerNorm(width) for _ in range(count))


def projection(channels, width, kernel):
    conv = nn.Conv2d(
        channels, width, kernel, stride=(kernel + 1) // 2, padding=kernel // 2, bias=False
    )
    return Wrapped(conv=conv, gn=nn.GroupNorm(32, width))


def sine(size_hw, features):
    places = [(torch.arange(1, n + 1) - 0.5) / (n + 1e-6) * 2 * math.pi for n in size_hw]
    y, x = (spread(place, features) for place in places)
    y = y[:, None].expand(-1, size_hw[1], -1)
    x = x[None].expand(size_hw[0], -1, -1)
    return torch.cat([y, x], dim=-1).flatten(0, 1)[None]  # (1, H * W, 2 * features)


def spread(place, features):
    index = torch.arange(features, dtype=torch.float32)
    angles = place[..., None] / 10000 ** (2 * (index // 2) / features)
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(-2)


def logit(x):
    return torch.log(x.clamp(min=1e-5) / (1 - x).clamp(min=1e-5))


class MMDetection(nn.Module):
    def __init__(self, *, refine=True, two_stage=False, width=64, layers=2, queries=7, classes=5):
        super().__init__()
        self.refine, self.two_stage, self.queries = refine, two_stage, queries
        self.backbone = torchvision.models.resnet50()
        del self.backbone.fc
        channels = (512, 1024, 2048)
        self.neck = Wrapped(
            convs=nn.ModuleList(projection(c, width, 1) for c in channels),
            extra_convs=nn.ModuleList([projection(2048, width, 3)]),
        )
        self.encoder = Wrapped(
            layers=nn.ModuleList(
                Wrapped(
                    self_attn=Attention(width, 4), ffn=perceptron(width, 96), norms=norms(width, 2)
                )
                for _ in range(layers)
            )
        )
        self.decoder = Wrapped(
            layers=nn.ModuleList(
                Wrapped(
                    self_attn=Wrapped(attn=nn.MultiheadAttention(width, HEADS, batch_first=True)),
                    cross_attn=Attention(width, 4),
                    ffn=perceptron(width, 96),
                    norms=norms(width, 3),
                )
                for _ in range(layers)
            )
        )
        self.level_embed = nn.Parameter(torch.randn(4, width))
        if two_stage:
            self.memory_trans_fc = nn.Linear(width, width)
            self.memory_trans_norm = nn.LayerNorm(width)
            self.pos_trans_fc = nn.Linear(2 * width, 2 * width)
            self.pos_trans_norm = nn.LayerNorm(2 * width)
        else:
            self.query_embedding = nn.Embedding(queries, 2 * width)
            self.reference_points_fc = nn.Linear(width, 2)
        reg = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 4),
        )
        copied = copy.deepcopy if refine else lambda branch: branch
        cls, count = nn.Linear(width, classes), layers + two_stage
        self.bbox_head = Wrapped(
            cls_branches=nn.ModuleList(copied(cls) for _ in range(count)),
            reg_branches=nn.ModuleList(copied(reg) for _ in range(count)),
        )

    def forward(self, images):
        maps = self.feature_maps(images)
        shapes = [level.shape[-2:] for level in maps]
        pixels = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        width = pixels.shape[-1]
        positions = torch.cat(
            [sine(s, width // 2) + self.level_embed[i] for i, s in enumerate(shapes)], dim=1
        )
        centers = torch.cat(
            [
                torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(
                    -1
                )
                for h, w in shapes
            ]
        )[None].expand(len(images), -1, -1)
        memory = pixels
        for layer in self.encoder.layers:
            seen = layer.self_attn(memory + positions, centers, memory, shapes)
            memory = layer.norms[0](memory + seen)
            memory = layer.norms[1](memory + layer.ffn.layers(memory))
        return self.decode(memory, centers, shapes)

    def feature_maps(self, images):
        body = self.backbone
        features = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        stages = []
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
            features = stage(features)
            stages.append(features)
        maps = [p.gn(p.conv(s)) for p, s in zip(self.neck.convs, stages[1:], strict=True)]
        extra = self.neck.extra_convs[0]
        return [*maps, extra.gn(extra.conv(stages[-1]))]

    def decode(self, memory, centers, shapes):
        start = self.proposed if self.two_stage else self.learned
        position, content, reference = start(memory, centers, shapes)
        for index, layer in enumerate(self.decoder.layers):
            placed = content + position
            content = layer.norms[0](content + layer.self_attn.attn(placed, placed, content)[0])
            seen = layer.cross_attn(content + position, reference, memory, shapes)
            content = layer.norms[1](content + seen)
            content = layer.norms[2](content + layer.ffn.layers(content))
            moved = self.bbox_head.reg_branches[index](content)
            known = reference.shape[-1]
            moved = torch.cat([moved[..., :known] + logit(reference), moved[..., known:]], dim=-1)
            boxes = moved.sigmoid()
            if self.refine:
                reference = boxes
        return self.bbox_head.cls_branches[index](content), boxes

    def learned(self, memory, _centers, _shapes):
        position, content = self.query_embedding.weight[None].chunk(2, dim=-1)
        position = position.expand(len(memory), -1, -1)
        content = content.expand(len(memory), -1, -1)
        return position, content, self.reference_points_fc(position).sigmoid()

    def proposed(self, memory, centers, shapes):
        sides = torch.cat([torch.full((h * w,), 0.05 * 2**i) for i, (h, w) in enumerate(shapes)])
        boxes = torch.cat([centers, sides[None, :, None].expand(len(centers), -1, 2)], dim=-1)
        usable = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True)
        anchors = torch.log(boxes / (1 - boxes)).masked_fill(~usable, float("inf"))
        features = self.memory_trans_norm(self.memory_trans_fc(memory.masked_fill(~usable, 0.0)))
        scores = self.bbox_head.cls_branches[-1](features)[..., 0]
        logits = self.bbox_head.reg_branches[-1](features) + anchors
        best = scores.topk(self.queries, dim=1).indices[..., None].expand(-1, -1, 4)
        reference = logits.gather(1, best).sigmoid()
        encoded = spread(reference * 2 * math.pi, memory.shape[-1] // 2).flatten(2)
        position, content = self.pos_trans_norm(self.pos_trans_fc(encoded)).chunk(2, dim=-1)
        return position, content, reference


def answers(model, images):
    with torch.no_grad():
        outputs = model(images)
    return outputs.pred_logits, outputs.pred_boxes


@pytest.fixture(params=KINDS)
def reference(request, perturb):
    """Give a detector with mmdetection 3's names, with statistics that do something."""
    model = perturb(MMDetection(**KINDS[request.param]), scale=0.02)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(0.1 * torch.rand_like(buffer))
    return model.eval()


def test_mmdetection_3_gives_the_same_answers(reference, tmp_path):
    """Nothing is missing or left over, and logits and boxes agree."""
    contents = {"state_dict": reference.state_dict(), "meta": {"cfg": "num_queries=7, num_heads=8"}}
    torch.save(contents, tmp_path / "mmdet.pth")
    ours, report = import_checkpoint(tmp_path / "mmdet.pth")
    assert not report.missing
    assert not report.unexpected
    assert ours.config.two_stage == reference.two_stage
    assert ours.config.with_box_refine == reference.refine
    images = torch.randn(2, 3, 90, 70)
    with torch.no_grad():
        wanted = reference(images)
    torch.testing.assert_close(answers(ours, images), wanted, atol=ANSWER_TOLERANCE, rtol=0)


def test_classes_come_from_the_meta(perturb, tmp_path):
    """Labels count from 0 in mmdetection, and so do the ids."""
    meta = {"dataset_meta": {"CLASSES": ("cat", "dog", "eel", "fox", "gnu")}}
    torch.save({"state_dict": MMDetection().state_dict(), "meta": meta}, tmp_path / "mmdet.pth")
    categories = load_checkpoint(tmp_path / "mmdet.pth").metadata.categories
    assert categories[0] == {"id": 0, "name": "cat"}
    assert len(categories) == 5


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("positional_encoding=dict(num_feats=32, normalize=True, offset=0.0)", "by 0.0"),
        ("positional_encoding_cfg=dict(num_feats=32, normalize=False)", "by False"),
        ("backbone=dict(type='ResNet', depth=50, style='caffe')", "by caffe"),
    ],
)
def test_settings_that_compute_something_else_are_refused(settings, text, tmp_path):
    """Tensors do not tell how positions are encoded; where the settings do, they are believed."""
    contents = {"state_dict": MMDetection().state_dict(), "meta": {"cfg": settings}}
    torch.save(contents, tmp_path / "mmdet.pth")
    with pytest.raises(CheckpointError, match=text):
        load_checkpoint(tmp_path / "mmdet.pth")
