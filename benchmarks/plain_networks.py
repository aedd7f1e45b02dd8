"""The two architectures in plain PyTorch, as an independent reference.

Written from the published layouts: module names are those of the published
state dicts, so that tensors exported by the library load with `strict=True`.
Tests hold the library to them, and `step.py` measures beside them.
"""

import itertools

import torch
from torch import nn


class Block(nn.Module):
    """A residual block of the bottleneck (1-3-1) or the basic (3-3) kind."""

    def __init__(self, channels, width, kind, stride, project):
        super().__init__()
        self.bottleneck = kind == "bottleneck"
        out = 4 * width if self.bottleneck else width
        if self.bottleneck:
            self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv2d(width, out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(out)
        else:
            self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False),
                nn.BatchNorm2d(out),
            )
            if project
            else nn.Identity()
        )

    def forward(self, x):
        """Maps (B, C, h, w) to maps."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(y.relu()))
        return (y + self.downsample(x)).relu()


class ResNet(nn.Module):
    """He et al., in torchvision's layout, without the classifier."""

    def __init__(self, counts, widths, kind, strides, stem, stem_strides):
        super().__init__()
        self.pool = (
            nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        )
        self.conv1 = (
            nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
            if stem == "imagenet"
            else nn.Conv2d(3, widths[0], 3, stem_strides, 1, bias=False)
        )
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = len(counts)
        channels = widths[0]
        for stage in range(self.stages):
            blocks = []
            for index in range(counts[stage]):
                width = widths[stage]
                out = 4 * width if kind == "bottleneck" else width
                stride = strides[stage] if index == 0 else 1
                project = index == 0 and (stride > 1 or channels != out)
                blocks.append(Block(channels, width, kind, stride, project))
                channels = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    def replace_stride_with_dilation(self, stages):
        """Dilates bottleneck stages (numbered from 1) as torchvision does."""
        dilation = 1
        for stage in stages:
            previous, dilation = dilation, 2 * dilation
            for index, block in enumerate(getattr(self, f"layer{stage}")):
                value = previous if index == 0 else dilation
                block.conv2.stride = (1, 1)
                block.conv2.dilation = block.conv2.padding = (value, value)
                if index == 0:
                    block.downsample[0].stride = (1, 1)

    def forward(self, x):
        """Images (B, 3, H, W) to maps (B, F, h, w)."""
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x


class PositionNorm(nn.LayerNorm):
    """Layer norm over the channels of a channels-first map."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-6)

    def forward(self, x):
        """Maps (B, C, h, w), normalised at each position."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution and a perceptron at each position."""

    def __init__(self, width, layer_scale):
        super().__init__()
        if layer_scale:
            self.gamma = nn.Parameter(torch.ones(width))
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = PositionNorm(width)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        # Stochastic depth, where it is put in.
        self.drop_path = nn.Identity()

    def forward(self, x):
        """Maps (B, C, h, w) to maps."""
        y = self.norm(self.dwconv(x)).movedim(1, -1)
        y = self.pwconv2(nn.functional.gelu(self.pwconv1(y)))
        if hasattr(self, "gamma"):
            y = self.gamma * y
        return x + self.drop_path(y.movedim(-1, 1))


class ConvNeXt(nn.Module):
    """Liu et al., in the authors' layout, without the classifier."""

    def __init__(self, depths, widths, layer_scale):
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 4, 4), PositionNorm(widths[0])
        )
        self.downsample_layers = nn.ModuleList([stem])
        for before, after in itertools.pairwise(widths):
            self.downsample_layers.append(
                nn.Sequential(
                    PositionNorm(before), nn.Conv2d(before, after, 2, 2)
                )
            )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(ConvNeXtBlock(width, layer_scale) for _ in range(depth))
            )
            for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = PositionNorm(widths[-1])

    def forward(self, x):
        """Images (B, 3, H, W) to maps (B, F, h, w)."""
        for downsample, stage in zip(
            self.downsample_layers, self.stages, strict=True
        ):
            x = stage(downsample(x))
        return self.norm(x)


def load(network, layout):
    """Loads what the library exports, refusing any other set of tensors."""
    network.load_state_dict(
        {
            key: torch.from_numpy(entry.to_torch().copy())
            for key, entry in layout.items()
        },
        strict=True,
    )
    return network


def run(network, images):
    """Applies a network to channels-last NumPy images, in inference mode."""
    with torch.no_grad():
        return forward(network.eval(), torch.from_numpy(images)).numpy()


def run_with_gradient(network, images, weights):
    """Gradient of `sum(weights * network(images))` by the images."""
    images = torch.from_numpy(images).requires_grad_()
    loss = (torch.from_numpy(weights) * forward(network.eval(), images)).sum()
    return torch.autograd.grad(loss, images)[0].numpy()


def forward(network, images):
    return network(images.movedim(-1, 1)).movedim(1, -1)
