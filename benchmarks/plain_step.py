"""A whole training step in plain PyTorch, as its users would write the paper.

Modules, the objective as `definition.py` has it, an optimizer. What `step.py`
measures the library beside; `tests/test_plain_step.py` holds it to the recorded
steps of the release.
"""

import definition
import plain_networks
import torch
from step_parts import make_batch
from torch import nn


class DropPath(nn.Module):
    """A residual branch, left out for whole images at random in training."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        """Maps (B, C, h, w), some of them zero."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


def resnet50():
    return plain_networks.ResNet(
        (3, 4, 6, 3),
        (64, 128, 256, 512),
        "bottleneck",
        (1, 2, 2, 2),
        "imagenet",
        1,
    )


def convnext_tiny():
    return plain_networks.ConvNeXt(
        (3, 3, 9, 3), (96, 192, 384, 768), layer_scale=False
    )


# The paper's, where a recipe has no others.
UNITS = (8192, 8192, 8192)
LOCAL_UNITS = (512, 512, 512)
NETWORKS = {
    "resnet50": (resnet50, 2048, nn.BatchNorm1d),
    "convnext_tiny": (convnext_tiny, 768, nn.LayerNorm),
}


def expander(channels, units, norm):
    """Linear layers with a norm and ReLU after each but the last."""
    layers = []
    for width in units[:-1]:
        layers += [nn.Linear(channels, width), norm(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Linear(channels, units[-1], bias=False))


class Model(nn.Module):
    """Backbone and expanders, with the names of the published files."""

    def __init__(self, name, units, local_units):
        super().__init__()
        network, channels, norm = NETWORKS[name]
        self.backbone = network()
        self.projector = expander(channels, units, norm)
        self.maps_projector = expander(channels, local_units, norm)

    def forward(self, views, positions, alpha):
        """The objective of views (B, 3, H, W) and positions (B, h * w, 2)."""
        maps = [self.backbone(view) for view in views]
        rows = [m.flatten(2).transpose(1, 2) for m in maps]
        embeddings = [self.projector(row.mean(dim=1)) for row in rows]
        local = [
            self.maps_projector(row.flatten(0, 1)).unflatten(0, row.shape[:2])
            for row in rows
        ]
        return definition.vicregl_loss(embeddings, local, positions, alpha)


class LARS(torch.optim.Optimizer):
    """You et al., parameter by parameter; vectors are plain momentum."""

    def __init__(self, parameters, lr, weight_decay, momentum=0.9, eta=0.001):
        super().__init__(
            parameters,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "eta": eta,
            },
        )

    @torch.no_grad()
    def step(self):
        """One step, by the gradients that parameters have."""
        for group in self.param_groups:
            for p in group["params"]:
                step = p.grad
                if p.ndim > 1:
                    step = step.add(p, alpha=group["weight_decay"])
                    weight, slope = p.norm(), step.norm()
                    rate = torch.where(
                        (weight > 0) & (slope > 0),
                        group["eta"] * weight / slope,
                        1.0,
                    )
                    step = step.mul(rate)
                state = self.state[p]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(p)
                velocity = state["velocity"]
                velocity.mul_(group["momentum"]).add_(step)
                p.add_(velocity, alpha=-group["lr"])


def make_optimizer(kind, model, lr, weight_decay):
    """`"lars"` or `"adamw"`, without decay for vectors."""
    parameters = list(model.parameters())
    if kind == "lars":
        return LARS(parameters, lr, weight_decay)
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1]},
            {
                "params": [p for p in parameters if p.ndim < 2],
                "weight_decay": 0.0,
            },
        ],
        lr,
        weight_decay=weight_decay,
    )


class PlainStep:
    """What `step_parts.Step` measures of the library, in float32."""

    def __init__(self, settings):
        from keras_vicregl.recipes import RECIPES

        recipe = RECIPES[settings["recipe"]]
        backbone = settings["backbone"]
        batch = make_batch(recipe, settings["batch_size"])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(0)
        self.model = Model(
            backbone,
            recipe.model.get("expander_units", UNITS),
            recipe.model.get("local_expander_units", LOCAL_UNITS),
        )
        if backbone.startswith("convnext"):
            drop_paths(self.model.backbone, 0.1)
        self.model.to(device)
        self.optimizer = make_optimizer(
            recipe.optimizer,
            self.model,
            recipe.base_learning_rate * settings["batch_size"] / 256,
            recipe.optimizer_arguments["weight_decay"],
        )
        self.alpha = settings["alpha"]
        self.views = [
            torch.from_numpy(view).movedim(-1, 1).contiguous().to(device)
            for view in batch["views"]
        ]
        self.positions = [
            cells(torch.from_numpy(matrix), view.shape[-1] // 32).to(device)
            for matrix, view in zip(
                batch["view_to_source"], self.views, strict=True
            )
        ]

    def step(self):
        """One step of training; its loss."""
        self.optimizer.zero_grad()
        loss = self.model(self.views, self.positions, self.alpha)
        loss.backward()
        self.optimizer.step()
        return float(loss)

    def part(self, name):
        """The step, which is not parted."""
        if name != "step":
            raise ValueError(f"the plain step has no part {name!r}")
        return self.step


def drop_paths(backbone, rate):
    """Puts stochastic depth into a ConvNeXt, rising from 0 to a rate."""
    blocks = [block for stage in backbone.stages for block in stage]
    rates = torch.linspace(0, rate, len(blocks)).tolist()
    for block, each in zip(blocks, rates, strict=True):
        block.drop_path = DropPath(each)


def cells(matrix, side):
    """Middles (B, side ** 2, 2) of a map's cells by affine maps (B, 2, 3)."""
    middles = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1)
    return torch.einsum("bij,sj->bsi", matrix, places)
