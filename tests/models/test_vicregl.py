import json
import pathlib

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.losses import vicregl_loss

# Heads of a size that trains in no time.
HEADS = {"expander_units": (24, 16), "local_expander_units": (16, 8)}


def build(norm="batch", **options):
    options = {**HEADS, **options}
    return small.seeded(VICRegL(small.backbone(norm), **options))


def numpy(structure):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, structure)


def logs(model, x, y=None):
    return model.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)


class TestCall:
    def test_positions_come_from_the_maps_and_their_real_size(self):
        x, _ = small.batch(sizes=((32, 32), (32, 40), (16, 24)))
        outputs = numpy(build()(x))
        for matrix, places, (h, w) in zip(
            x["view_to_source"],
            outputs["positions"],
            ((4, 4), (4, 5), (2, 3)),
            strict=True,
        ):
            rows, columns = np.divmod(np.arange(h * w), w)
            u, v = (columns + 0.5) / w, (rows + 0.5) / h
            at = np.stack([u, v, np.ones_like(u)])
            expected = (matrix.astype("float64") @ at).swapaxes(1, 2)
            # Coordinates below 64 in float32.
            np.testing.assert_allclose(places, expected, atol=2e-5)

    def test_heads_see_the_mean_and_the_positions_in_raster_order(self):
        x, _ = small.batch()
        model = build("layer")
        outputs = numpy(model(x))
        maps = numpy(model.backbone(x["views"][2]))
        pooled = maps.mean((1, 2))
        np.testing.assert_allclose(
            outputs["representations"][2], pooled, rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            outputs["embeddings"][2],
            numpy(model.expander(pooled)),
            rtol=1e-4,
            atol=1e-5,
        )
        row_2_column_1 = numpy(model.local_expander(maps[:, 1, 0]))
        np.testing.assert_allclose(
            outputs["local_embeddings"][2][:, 3],
            row_2_column_1,
            rtol=1e-4,
            atol=1e-5,
        )

    @pytest.mark.parametrize(
        ("options", "missing"),
        [
            ({"alpha": 1.0}, "local"),
            ({"local_criteria": ()}, "local"),
            ({"alpha": 0.0}, "global"),
        ],
    )
    def test_a_branch_without_weight_is_neither_built_nor_computed(
        self, options, missing
    ):
        model = build(**options)
        x, _ = small.batch()
        outputs = model(x)
        assert ("local_embeddings" in outputs) == (missing != "local")
        assert ("embeddings" in outputs) == (missing != "global")
        assert (model.local_expander is None) == (missing == "local")
        assert (model.expander is None) == (missing == "global")

    def test_views_of_one_size_share_a_call_without_batch_norm(self):
        x, _ = small.batch()
        outputs = {}
        for stack in (None, False):
            model = build("layer", stack_views=stack)
            sizes = []
            call = model.backbone.call

            def counted(images, *args, call=call, sizes=sizes, **kwargs):
                sizes.append(images.shape[0])
                return call(images, *args, **kwargs)

            model.backbone.call = counted
            outputs[stack] = numpy(model(x, training=True))
            assert sizes == ([16, 8] if stack is None else [8, 8, 8])
        keras.tree.map_structure(
            # The same function; convolutions of other shapes round otherwise.
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            *outputs.values(),
        )

    def test_with_batch_norm_each_view_has_its_own_statistics(self):
        x, _ = small.batch()
        model = build("batch")
        outputs = numpy(model(x, training=True))
        for view, images in enumerate(x["views"]):
            alone = numpy(model.backbone(images, training=True))
            np.testing.assert_allclose(
                outputs["representations"][view],
                alone.mean((1, 2)),
                rtol=1e-4,
                atol=1e-5,
            )

    def test_coordinates_keep_float32_under_mixed_precision(self):
        x, _ = small.batch()
        expected = numpy(build()(x)["positions"])
        model = VICRegL(small.backbone(), dtype="mixed_bfloat16", **HEADS)
        actual = model(x)
        keras.tree.map_structure(
            np.testing.assert_array_equal, numpy(actual["positions"]), expected
        )
        dtype = keras.backend.standardize_dtype(actual["embeddings"][0].dtype)
        assert dtype == "bfloat16"


class TestLoss:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"alpha": 0.3, "match_counts": "by_view", "num_matches": (5, 2)},
            {"local_criteria": ("feature",), "feature_matches": 3},
            {"max_distance": 6.0, "regularize": "maps"},
            {"covariance_coefficient": 2.0, "alpha": 0.0},
        ],
    )
    def test_logs_the_objective_of_its_outputs(self, options):
        x, _ = small.batch()
        model = build("layer", **options)
        small.compiled(model)
        actual = logs(model, x)
        outputs = model(x)
        expected = vicregl_loss(
            outputs.get("embeddings"),
            outputs["local_embeddings"],
            outputs["positions"],
            **{"alpha": 0.75, **options},
        )
        for name, value in expected.items():
            # Compiled, under JAX, against eager.
            np.testing.assert_allclose(actual[name], numpy(value), rtol=2e-5)

    def test_without_local_criteria_it_is_alpha_times_vicreg(self):
        x, _ = small.batch()
        vicreg = build("layer", alpha=1.0)
        neither = build("layer", alpha=0.75, local_criteria=())
        for model in (vicreg, neither):
            small.compiled(model)
        expected, actual = (logs(model, x) for model in (vicreg, neither))
        assert actual["inv"] == expected["inv"]
        np.testing.assert_allclose(
            actual["loss"], 0.75 * expected["loss"], rtol=1e-6
        )

    def test_a_fraction_of_the_diagonal_is_so_many_pixels(self):
        x, _ = small.batch()
        results = []
        for options in (
            {"max_distance": 8.0},
            # The source is 64 x 48: its diagonal is 80 px.
            {"max_distance": 0.1, "max_distance_unit": "diagonal"},
            {},
        ):
            model = build(**options, feature_matches=4)
            small.compiled(model)
            results.append(logs(model, x))
        np.testing.assert_allclose(
            results[0]["local_inv"], results[1]["local_inv"], rtol=1e-6
        )
        assert results[0]["local_inv"] != results[2]["local_inv"]

    def test_regularizers_of_the_backbone_count(self):
        inputs = keras.Input((None, None, 3))
        convolution = keras.layers.Conv2D(
            16, 8, 8, kernel_regularizer=keras.regularizers.L2(0.5)
        )
        backbone = keras.Model(inputs, convolution(inputs))
        model = VICRegL(backbone, **HEADS)
        small.compiled(model)
        x, _ = small.batch()
        result = logs(model, x)
        terms = ("inv", "var", "cov")
        objective = 0.75 * sum(result[t] for t in terms)
        objective += 0.25 * sum(result["local_" + t] for t in terms)
        penalty = 0.5 * np.sum(numpy(convolution.kernel) ** 2)
        np.testing.assert_allclose(
            result["loss"], objective + penalty, rtol=1e-5
        )

    def test_collapse_shows_in_the_monitors(self):
        x, _ = small.batch()
        model = build("layer")
        for variable in model.backbone.trainable_variables:
            variable.assign(np.zeros(variable.shape))
        small.compiled(model)
        result = logs(model, x)
        assert result["repr_std"] == 0
        # relu(1 - sqrt(0 + 1e-4)) * 25, twice for two local criteria.
        np.testing.assert_allclose(result["var"], 24.75, rtol=1e-6)
        np.testing.assert_allclose(result["local_var"], 49.5, rtol=1e-6)
        assert result["local_inv"] == result["inv"] == 0


class TestClassifier:
    def test_its_cross_entropy_and_accuracy_are_those_of_view_0(self):
        x, y = small.batch()
        model = build(num_classes=6)
        small.compiled(model)
        result = logs(model, x, y)
        logits = numpy(model(x)["logits"]).astype("float64")
        own = logits[np.arange(8), y]
        expected = np.mean(np.log(np.exp(logits).sum(1)) - own)
        np.testing.assert_allclose(result["classifier_loss"], expected, 1e-5)
        order = np.argsort(-logits, axis=1)
        np.testing.assert_allclose(result["top1"], np.mean(order[:, 0] == y))
        np.testing.assert_allclose(
            result["top5"],
            np.mean([t in o for t, o in zip(y, order[:, :5], strict=True)]),
        )

    def test_it_reaches_no_other_weight(self):
        x, y = small.batch()
        with_labels, without = build(num_classes=5), build()
        # Seeded in order of creation, and the classifier comes last.
        classifier = numpy(with_labels.classifier.kernel)
        for model in (with_labels, without):
            small.compiled(model, keras.optimizers.SGD(0.1))
        with_labels.train_on_batch(x, y)
        without.train_on_batch(x)
        for path in ("backbone", "expander", "local_expander"):
            for a, b in zip(
                small.weights(getattr(with_labels, path)),
                small.weights(getattr(without, path)),
                strict=True,
            ):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        assert np.any(numpy(with_labels.classifier.kernel) != classifier)

    def test_it_asks_for_labels(self):
        x, _ = small.batch()
        model = build(num_classes=5)
        small.compiled(model)
        with pytest.raises(ValueError, match=r"num_classes=5.*no labels"):
            model.fit(x, verbose=0)


class TestSaving:
    @pytest.mark.parametrize(
        "options",
        [
            {"num_classes": 5, "num_matches": (7, None), "max_distance": 9.5},
            {
                "alpha": 1.0,
                "normalization": "layer",
                "regularize": "maps",
                "local_criteria": ("feature",),
                "stack_views": False,
            },
        ],
    )
    def test_the_configuration_comes_back(self, options):
        config = build(**options).get_config()
        json.dumps(config)
        again = VICRegL.from_config(config)
        # A functional model's own configuration counts its layers' names up.
        config.pop("backbone")
        assert {**again.get_config(), **config} == again.get_config()
        assert again.backbone.output_shape == (None, None, None, 16)

    def test_training_goes_on_from_a_keras_file(self, tmp_path):
        x, y = small.batch(sizes=small.SIZES[:2])
        model = build(num_classes=5)
        # Not Adam, which makes steps of gradients that are rounding alone:
        # those of biases before batch normalisation.
        small.compiled(model, keras.optimizers.SGD(1e-2, momentum=0.9))
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        for a, b in zip(
            small.weights(model), small.weights(again), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        for one in (model, again):
            one.fit(x, y, batch_size=8, epochs=1, verbose=0)
        for a, b in zip(
            small.weights(model), small.weights(again), strict=True
        ):
            # PyTorch rounds by where in memory it finds the weights.
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class TestThreeSteps:
    """The same training on every backend."""

    FIGURES = pathlib.Path(__file__).with_name("three_steps.json")

    @pytest.mark.parametrize("normalization", ["batch", "layer"])
    def test_losses_are_the_same_on_every_backend(self, normalization):
        x, y = small.batch()
        model = build(normalization, num_classes=5)
        small.compiled(model, keras.optimizers.AdamW(2e-3))
        losses = []
        for _ in range(3):
            model.reset_metrics()  # which Keras 3.12 does not do by itself
            losses.append(model.train_on_batch(x, y, return_dict=True))
        expected = json.loads(self.FIGURES.read_text())[normalization]
        # Recorded under TensorFlow. Convolutions round in another order on
        # every backend, and three steps amplify that.
        for step, (actual, figures) in enumerate(
            zip(losses, expected, strict=True)
        ):
            for name, value in figures.items():
                np.testing.assert_allclose(
                    actual[name], value, rtol=1e-4, atol=1e-5, err_msg=f"{step}"
                )


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"alpha": 1.5}, r"`alpha`.*\[0, 1\].*1.5"),
            ({"alpha": -0.1}, r"`alpha`"),
            ({"alpha": "much"}, r"`alpha`.*'much'"),
            ({"alpha": 0, "local_criteria": ()}, "nothing to train"),
            ({"num_matches": 0}, "`num_matches`.*received 0"),
            ({"num_matches": (20, -4)}, "`num_matches`"),
            ({"feature_matches": (1, 2, 3)}, "`feature_matches`"),
            ({"local_criteria": ("colour",)}, "`local_criteria`.*'colour'"),
            ({"local_criteria": "feature"}, "sequence of criteria"),
            ({"match_counts": "by_size"}, "`match_counts`.*'by_size'"),
            ({"regularize": "all"}, "`regularize`.*'all'"),
            ({"max_distance": -1.0}, "`max_distance`.*-1.0"),
            ({"max_distance_unit": "km"}, "`max_distance_unit`.*'km'"),
            ({"expander_units": (8, 0)}, "`expander_units`"),
            ({"normalization": "group"}, "`normalization`.*'group'"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            build(**options)

    def test_a_backbone_without_a_map(self):
        inputs = keras.Input((None, None, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        with pytest.raises(ValueError, match="4-D feature map"):
            VICRegL(keras.Model(inputs, pooled))
        with pytest.raises(ValueError, match="`backbone` must be"):
            VICRegL("resnet50")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: x["views"], "a tuple of 3"),
            (lambda x: {"images": x["views"]}, "under 'views'"),
            (lambda x: {**x, "views": x["views"][:1]}, "at least 2"),
            (lambda x: {**x, "views": x["views"][0]}, "at least 2"),
            (lambda x: {"views": x["views"]}, "'view_to_source' is missing"),
            (
                lambda x: {**x, "view_to_source": x["view_to_source"][:2]},
                "received 2 for 3",
            ),
            (
                lambda x: {**x, "views": tuple(v[0] for v in x["views"])},
                r"'views'\[0\] must be a batch",
            ),
        ],
    )
    def test_batches(self, change, message):
        x, _ = small.batch()
        with pytest.raises(ValueError, match=message):
            build()(change(x))

    def test_a_batch_of_one(self):
        x, _ = small.batch(count=1)
        model = build()
        small.compiled(model)
        with pytest.raises(ValueError, match="at least 2 samples"):
            model.fit(x, verbose=0)

    @pytest.mark.skipif(
        keras.backend.backend() != "tensorflow",
        reason="elsewhere the size of every batch is known",
    )
    def test_a_last_batch_of_one_whose_size_is_not_known_before(self):
        import tensorflow as tf

        x, _ = small.batch(count=9, sizes=small.SIZES[:2])
        data = tf.data.Dataset.from_tensor_slices((x,)).batch(4)
        model = build(alpha=1.0)
        model.compile("sgd")
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="at least 2 samples"
        ):
            model.fit(data, verbose=0)

    def test_sample_weights(self):
        x, y = small.batch()
        model = build()
        small.compiled(model)
        with pytest.raises(ValueError, match="`sample_weight`"):
            model.fit(x, y, sample_weight=np.ones(8), verbose=0)

    def test_a_missing_source_size(self):
        x, _ = small.batch()
        del x["source_size"]
        model = build(max_distance=0.1, max_distance_unit="diagonal")
        small.compiled(model)
        with pytest.raises(ValueError, match="'source_size' is missing"):
            model.fit(x, verbose=0)

    def test_a_nan_pixel_stops_training_with_an_error(self):
        x, _ = small.batch(count=16)
        x["views"][1][12, 3, 3, 0] = np.nan
        model = build()
        small.compiled(model)
        with pytest.raises(
            FloatingPointError, match=r"inv.* in epoch 1, batch 2 "
        ):
            model.fit(x, batch_size=8, shuffle=False, verbose=0)
