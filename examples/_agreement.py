"""How often matched places of two views are of one class."""

import numpy as np


def agreement(
    model, views, images, masks, ignore, num_matches, batch_size=32, seed=0
):
    """Which part of matches joins places of the same class.

    By location and by feature, as the local criterion has them in inference
    mode, and of all pairs of places: what chance gives. Places that are of no
    class are left out.

    Args:
        model: a `VICRegL` with a local expander.
        views: the `MultiView` of its training.
        images: (N, H, W, 3) uint8.
        masks: (N, H, W) of classes.
        ignore: the label of no class.
        num_matches: of an image by each criterion.
        batch_size: images at once; a last batch that is smaller is left out.
        seed: of the views.

    Returns:
        Fractions by name: "location", "feature" and "chance"; and
        "location_distance" and "feature_distance", medians in pixels.
    """
    import keras

    from keras_vicregl.visualization import find_matches

    agree = {name: [] for name in ("location", "feature", "chance")}
    distances = {name: [] for name in ("location", "feature")}
    for start in range(0, len(images) - batch_size + 1, batch_size):
        chosen = np.arange(start, start + batch_size)
        seeds = np.stack([np.full(batch_size, seed), chosen], axis=-1)
        batch = {"images": images[chosen], "seeds": seeds.astype("int64")}
        x, *_ = views.to_fit(views(batch))
        x = {k: keras.tree.map_structure(np.asarray, v) for k, v in x.items()}
        matches = find_matches(model, x, num_matches=num_matches)
        first, second = (
            classes_at(masks[chosen], where) for where in matches.positions
        )
        for name, pairs in matches.pairs.items():
            one = np.take_along_axis(first, pairs.queries, 1)
            other = np.take_along_axis(second, pairs.neighbours, 1)
            known = (one != ignore) & (other != ignore)
            agree[name].append((one == other)[known])
            distances[name].append(pairs.distances.ravel())
        one, other = first[:, :, None], second[:, None, :]
        known = (one != ignore) & (other != ignore)
        agree["chance"].append((one == other)[known])
    return {
        name: float(np.concatenate(values).mean())
        for name, values in agree.items()
    } | {
        f"{name}_distance": float(np.median(np.concatenate(values)))
        for name, values in distances.items()
    }


def classes_at(masks, positions):
    """Labels (N, S) of the pixels of masks (N, H, W) at (N, S, 2), x and y."""
    height, width = masks.shape[1:]
    x, y = np.moveaxis(np.floor(positions).astype(int), -1, 0)
    images = np.arange(len(masks))[:, None]
    return masks[images, y.clip(0, height - 1), x.clip(0, width - 1)]
