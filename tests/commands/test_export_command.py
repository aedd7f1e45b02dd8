"""A run's backbone, exported by the command."""

import keras
import numpy as np
import pytest

from keras_vicregl import backbone
from keras_vicregl.checkpoints import layouts, to_state_dict
from keras_vicregl.commands.export import LAYOUTS
from keras_vicregl.commands.main import main
from keras_vicregl.models.backbones import ConvNeXt
from keras_vicregl.models.backbones.normalization import learn_normalization
from keras_vicregl.views import MultiView


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    backbone("small_resnet", widths=(4, 4, 4, 4)).save(
        folder / "backbone.keras"
    )
    return folder


def test_what_is_written_takes_images_as_they_are(run, tmp_path, capsys):
    target = tmp_path / "served.keras"
    assert main(["export", str(run), str(target)]) == 0
    assert "takes images as they are" in capsys.readouterr().out
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), "uint8")
    inside = keras.saving.load_model(target)
    alone = keras.saving.load_model(run / "backbone.keras")
    mean = np.array([0.485, 0.456, 0.406]) * 255
    std = np.array([0.229, 0.224, 0.225]) * 255
    normalised = ((images - mean) / std).astype("float32")
    found, expected = (
        keras.ops.convert_to_numpy(model(each))
        for model, each in ((inside, images), (alone, normalised))
    )
    # The normalisation in another order of float32 operations.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_evaluate_and_embed_cannot_know(tmp_path, capsys):
    """Of float32 inputs: whether the export normalises them."""
    network = backbone("small_resnet", widths=(4, 4, 4, 8))
    learn_normalization(
        network, MultiView([{"size": 32, "count": 2}], value_range=(0, 4095))
    )
    network.save(tmp_path / "wide.keras")
    main(["export", str(tmp_path / "wide.keras"), str(tmp_path / "a.keras")])
    assert "need --preprocessed for it" in capsys.readouterr().out
    main(
        [
            "export",
            str(tmp_path / "wide.keras"),
            str(tmp_path / "b.keras"),
            "--raw",
        ]
    )
    assert "--preprocessed" not in capsys.readouterr().out


def test_names_of_a_state_dict(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    network = ConvNeXt(depths=(1,), widths=(8,))
    network.save(tmp_path / "network.keras")
    command = ["export", str(tmp_path / "network.keras"), "--layout", "timm"]
    assert main([*command, str(tmp_path / "backbone.pth")]) == 0
    found = torch.load(tmp_path / "backbone.pth", weights_only=True)
    assert list(found) == list(to_state_dict(network, layout="timm"))
    with pytest.raises(SystemExit) as end:
        main([*command, "served"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "--layout 'timm' is of .pth files; 'served' has the format" in said
    assert LAYOUTS == layouts.LAYOUTS


@pytest.mark.parametrize(
    ("model", "code", "told"),
    [
        ("nowhere.keras", 2, "there is no file 'nowhere.keras'"),
        (".", 2, "is a folder without a backbone.keras"),
    ],
)
def test_what_is_no_model(model, code, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["export", model, "b.onnx"])
    assert end.value.code == code
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
