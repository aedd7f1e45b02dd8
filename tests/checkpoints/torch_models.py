"""Networks of torchvision and timm themselves, and what was recorded of them.

`python tests/checkpoints/torch_models.py` writes `goldens/torch_models.json`,
where torchvision and timm are installed (`make test-torch-models` installs
them).
"""

import hashlib
import importlib.util
import json
import pathlib
import re
import sys

import numpy as np

# tests/, which pytest has there itself.
sys.path.append(str(pathlib.Path(__file__).parents[1]))

from seeded_weights import GOLDENS, state_dict

FILE = GOLDENS / "torch_models.json"
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
_CONVNEXTS = tuple(
    f"convnext_{size}" for size in ("tiny", "small", "base", "large")
)
# Those that both they and we have. (Nobody has the wide ResNets of SimCLR.)
NAMES = {
    "torchvision": (*_RESNETS, *_CONVNEXTS),
    "timm": (*_RESNETS, *_CONVNEXTS, "convnext_xlarge"),
}
# Of their classes, small ones that all of the suite can run.
SMALL = {
    "torchvision": ("small_resnet", "small_convnext"),
    "timm": ("small_resnet", "small_convnext"),
}
DEPTHS, WIDTHS = (1, 1, 2, 1), (8, 16, 24, 32)
_CLASSIFIERS = ("fc.", "head.fc.", "classifier.2.")


def images():
    """Two normalised images, wider than high, (2, 64, 96, 3)."""
    return (
        np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")
    )


def their_weights(shapes):
    """Weights drawn key by key, factors of layer scale near one."""
    weights = state_dict(shapes, seed=3)
    for key, value in weights.items():
        if key.endswith(("gamma", "layer_scale")):
            weights[key] = (1 + 0.1 * np.tanh(value)).astype("float32")
    return weights


def without_classifier(weights):
    return {
        key: value
        for key, value in weights.items()
        if not key.startswith(_CLASSIFIERS)
    }


def fingerprint(shapes):
    """Of keys and shapes, in whatever order."""
    lines = sorted(f"{key} {tuple(shape)}" for key, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def figures(maps):
    """What is recorded of a feature map (B, h, w, F)."""
    maps = np.asarray(maps, np.float64)
    places = np.linspace(0, maps.size - 1, 16).astype(int)
    return {
        "shape": list(maps.shape),
        "largest": float(np.abs(maps).max()),
        "mean": float(maps.mean()),
        "mean_of_squares": float(np.square(maps).mean()),
        "values": maps.ravel()[places].tolist(),
    }


def import_packages():
    """Imports torchvision and timm, and says which versions.

    PyPI's torchvision is built for CUDA: beside a PyTorch without it, the
    library of its operators is not loaded, and its import fails ("operator
    torchvision::nms does not exist"). They are for boxes, and its networks use
    none of them: declared, they keep nobody from importing the rest.
    """
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
        _declare_operators(torch)
        import torchvision
    import timm

    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
    }


_declared = []


def _declare_operators(torch):
    for name in [
        each for each in sys.modules if each.startswith("torchvision")
    ]:
        del sys.modules[name]
    spec = importlib.util.find_spec("torchvision")
    folder = pathlib.Path(spec.submodule_search_locations[0])
    text = (folder / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in set(re.findall(r'register_fake\("torchvision::(\w+)"', text)):
        library.define(f"{name}(Tensor x) -> Tensor")
    _declared.append(library)  # or its operators are gone again


def network(package, name):
    """Their network, with its classifier and weights of their own."""
    if name in SMALL[package]:
        return _small(package, name).eval()
    if package == "torchvision":
        import torchvision

        return getattr(torchvision.models, name)(weights=None).eval()
    import timm

    return timm.create_model(name, pretrained=False).eval()


def _small(package, name):
    if package == "timm":
        import timm

        if name == "small_resnet":
            block = timm.models.resnet.BasicBlock
            return timm.models.resnet.ResNet(block, (1, 1, 1, 1))
        return timm.models.convnext.ConvNeXt(depths=DEPTHS, dims=WIDTHS)
    from torchvision.models import convnext, resnet

    if name == "small_resnet":
        return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1])
    stages = zip(WIDTHS, [*WIDTHS[1:], None], DEPTHS, strict=True)
    return convnext.ConvNeXt(
        [convnext.CNBlockConfig(*stage) for stage in stages]
    )


def their_maps(package, model):
    """Their feature map (B, h, w, F) of `images`.

    A ConvNeXt of theirs normalises behind its pooling; here each position.
    """
    import torch

    x = torch.from_numpy(images()).permute(0, 3, 1, 2)
    with torch.no_grad():
        if package == "timm":
            maps = model.forward_features(x)
            if hasattr(model, "head"):
                maps = model.head.norm(maps)
        elif hasattr(model, "features"):
            maps = model.classifier[0](model.features(x))
        else:
            maps = torch.nn.Sequential(*list(model.children())[:-2])(x)
    return maps.permute(0, 2, 3, 1).numpy()


def shapes_of(model):
    return {key: tuple(v.shape) for key, v in model.state_dict().items()}


def load(model, weights):
    """Loads arrays into their network; only a classifier may be missing."""
    import torch

    missing, unexpected = model.load_state_dict(
        {key: torch.from_numpy(value) for key, value in weights.items()},
        strict=False,
    )
    assert not unexpected
    assert all(key.startswith(_CLASSIFIERS) for key in missing), missing


def record():
    """Writes the figures of all networks."""
    rows = {"versions": import_packages()}
    for package, names in NAMES.items():
        for name in (*SMALL[package], *names):
            model = network(package, name)
            shapes = without_classifier(shapes_of(model))
            load(model, their_weights(shapes))
            rows[f"{package} {name}"] = {
                "tensors": len(shapes),
                "keys": fingerprint(shapes),
                **figures(their_maps(package, model)),
            }
            print(package, name)
    FILE.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    record()
