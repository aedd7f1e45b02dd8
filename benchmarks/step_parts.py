"""A training step and its parts, as calls to be timed.

What the processes that `step.py` starts measure.
"""

import importlib.util

import numpy as np


def import_keras():
    # PyTorch after TensorFlow, with few cores, is far slower.
    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401
    import keras

    return keras


def make_batch(recipe, batch_size):
    """Random views of a recipe, with the maps of crops of 500 x 375 px."""
    rng = np.random.default_rng(0)
    views, maps = [], []
    for group in recipe.views["groups"]:
        size = group["size"]
        for _ in range(group["count"]):
            shape = (batch_size, size, size, 3)
            views.append(rng.standard_normal(shape, np.float32))
            crop = np.zeros((batch_size, 2, 3), np.float32)
            crop[:, 0, 0] = width = rng.uniform(100, 300, batch_size)
            crop[:, 1, 1] = height = rng.uniform(100, 300, batch_size)
            crop[:, 0, 2] = rng.uniform(0, 500 - width)
            crop[:, 1, 2] = rng.uniform(0, 375 - height)
            maps.append(crop)
    return {"views": tuple(views), "view_to_source": tuple(maps)}


def _accumulated(settings):
    """Of Keras' optimizers: batches a step, None for one."""
    parts = settings.get("accumulated", 1)
    return parts if parts > 1 else None


class Step:
    """A model, a batch on the device, and calls of the step and its parts."""

    def __init__(self, settings, name):
        keras = self.keras = import_keras()
        from keras_vicregl.recipes import RECIPES

        self.xla = name.endswith("-xla")
        recipe = RECIPES[settings["recipe"]]
        keras.utils.set_random_seed(0)
        self.model = recipe.make_model(
            backbone=settings["backbone"],
            precision=settings["precision"],
            alpha=settings["alpha"],
            remat=settings["remat"],
        )
        self.model.compile(
            recipe.make_optimizer(
                1000,
                settings["batch_size"],
                gradient_accumulation_steps=_accumulated(settings),
            ),
            jit_compile=True if self.xla else "auto",
        )
        self.batch = keras.tree.map_structure(
            keras.ops.convert_to_tensor,
            make_batch(recipe, settings["batch_size"]),
        )
        self.calls = {}

    def step(self):
        """One step of training; its loss."""
        loss, *_ = self.model.train_on_batch(self.batch)
        return float(loss)

    def part(self, name):
        """The call of a part; made when it is first asked for."""
        if name == "step":
            return self.step
        if name not in self.calls:
            made = {
                "backbone": self._backbone,
                "backbone and heads": self._networks,
                "losses": self._losses,
                "optimizer": self._optimizer,
            }[name]()
            self.calls[name] = made
            made()  # compiles
        return self.calls[name]

    def _backbone(self):
        from keras_vicregl.models.plumbing import apply

        model = self.model

        def mean():
            maps = apply(
                lambda images: model._features(images, True),
                self.batch["views"],
                model._stack_backbone,
            )
            return self._mean(maps)

        return self._gradient_of(mean, model.backbone.trainable_variables)

    def _networks(self):
        def mean():
            outputs = self.model(self.batch, training=True)
            return self._mean(
                [*outputs["embeddings"], *outputs["local_embeddings"]]
            )

        return self._gradient_of(mean, self.model.trainable_variables)

    def _losses(self):
        from keras_vicregl.losses import vicregl_loss

        # Embeddings of the shapes and positions of the batch.
        keras = self.keras
        outputs = self._outputs()
        variables = {
            name: [keras.Variable(value) for value in outputs[name]]
            for name in ("embeddings", "local_embeddings")
        }

        def loss():
            return vicregl_loss(
                [v.value for v in variables["embeddings"]],
                [v.value for v in variables["local_embeddings"]],
                outputs["positions"],
                alpha=self.model.alpha,
            )["loss"]

        return self._gradient_of(
            loss, [*variables["embeddings"], *variables["local_embeddings"]]
        )

    def _outputs(self):
        if self.keras.backend.backend() == "jax":
            import jax

            outputs, _ = jax.jit(self.model.stateless_call)(
                [v.value for v in self.model.trainable_variables],
                [v.value for v in self.model.non_trainable_variables],
                self.batch,
            )
            return outputs
        return self.model(self.batch)

    def _mean(self, tensors):
        ops = self.keras.ops
        return sum(ops.mean(ops.cast(tensor, "float32")) for tensor in tensors)

    def _gradient_of(self, function, variables):
        """A call of the gradient of a function of Keras variables."""
        backend = self.keras.backend.backend()
        others = [v for v in self.model.variables if not v.trainable]
        if backend == "jax":
            import jax

            def loss(values, state):
                mapping = zip(variables + others, values + state, strict=True)
                with self.keras.StatelessScope(state_mapping=list(mapping)):
                    return function()

            gradient = jax.jit(jax.value_and_grad(loss))

            def call():
                values = [v.value for v in variables]
                state = [v.value for v in others]
                jax.block_until_ready(gradient(values, state))

        elif backend == "tensorflow":
            import tensorflow as tf

            @tf.function(jit_compile=self.xla, autograph=False)
            def gradient():
                with tf.GradientTape() as tape:
                    loss = function()
                gradients = tape.gradient(loss, [v.value for v in variables])
                # Something to wait for that needs all of them.
                return loss, [tf.reduce_sum(g) for g in gradients]

            def call():
                self.keras.tree.map_structure(np.asarray, gradient())

        else:
            import torch

            def call():
                torch.autograd.grad(function(), [v.value for v in variables])
                wait_for_torch()

        return call

    def _optimizer(self):
        """The optimizer's step alone, on gradients like the weights."""
        keras, model = self.keras, self.model
        optimizer, variables = model.optimizer, model.trainable_variables
        optimizer.build(variables)
        gradients = [keras.ops.copy(v.value) * 1e-3 for v in variables]
        backend = keras.backend.backend()
        if backend == "jax":
            import jax

            apply = jax.jit(optimizer.stateless_apply)

            def call():
                jax.block_until_ready(
                    apply(
                        [v.value for v in optimizer.variables],
                        gradients,
                        [v.value for v in variables],
                    )
                )

        elif backend == "tensorflow":
            import tensorflow as tf

            @tf.function(jit_compile=self.xla, autograph=False)
            def apply():
                optimizer.apply(gradients, variables)
                return optimizer.iterations

            def call():
                np.asarray(apply())

        else:
            import torch

            def call():
                with torch.no_grad():
                    optimizer.apply(gradients, variables)
                wait_for_torch()

        return call


def wait_for_torch():
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def allocated_at_most():
    """Bytes on the first GPU since the start, or `None` without one."""
    keras = import_keras()
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        return stats.get("peak_bytes_in_use")
    if backend == "tensorflow":
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            return None
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated()


def make_views(settings):
    """A call that makes the views of a batch, in a TensorFlow graph."""
    import_keras()
    import tensorflow as tf

    from keras_vicregl.recipes import RECIPES

    rng = np.random.default_rng(0)
    shape = (settings["batch_size"], 256, 256, 3)
    images = tf.constant(rng.integers(0, 256, shape, np.uint8))
    views = RECIPES[settings["recipe"]].make_views(seed=0)
    with tf.device("CPU"):
        make = tf.function(lambda: views({"images": images})["views"])

    def call():
        for view in make():
            view.numpy()

    call()
    return call
