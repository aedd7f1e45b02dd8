"""COCO's average precision once more, in NumPy and for one setting a call."""

import numpy as np


def overlap(found, true, is_crowd):
    """IoU; of a crowd, the share of the detection that is within it."""
    low = np.maximum(found[:2], true[:2])
    high = np.minimum(found[2:], true[2:])
    shared = np.prod(np.maximum(high - low, 0))
    own, other = (np.prod(box[2:] - box[:2]) for box in (found, true))
    return shared / (own if is_crowd else own + other - shared)


def matched(found, true, threshold, area_range, count):
    """Scores of an image's detections, and whether each is a hit or ignored.

    Also the number of boxes to be found.
    """
    low, high = area_range
    areas = true["areas"]
    ignored = true["crowd"] | true["difficult"] | (areas < low) | (areas > high)
    order = np.argsort(-found["scores"], kind="stable")[:count]
    taken = np.zeros(len(areas), bool)
    hits, left_out = [], []
    for d in order:
        best, chosen = min(threshold, 1 - 1e-10), None
        # Boxes that count are preferred, however little they overlap.
        for t in [*np.flatnonzero(~ignored), *np.flatnonzero(ignored)]:
            if taken[t] and not true["crowd"][t]:
                continue
            if chosen is not None and ignored[t] and not ignored[chosen]:
                break
            value = overlap(
                found["boxes"][d], true["boxes"][t], true["crowd"][t]
            )
            if value >= best:
                best, chosen = value, t
        area = np.prod(found["boxes"][d][2:] - found["boxes"][d][:2])
        if chosen is None:
            hits.append(False)
            left_out.append(not low <= area <= high)
        else:
            taken[chosen] = True
            hits.append(not ignored[chosen])
            left_out.append(ignored[chosen])
    return found["scores"][order], np.array(hits), left_out, (~ignored).sum()


def average_precision(detections, ground_truth, label, threshold, area, count):
    """Average precision and recall of a class, NaN where there is no box."""
    scores, hits, total = [], [], 0
    for found, true in zip(detections, ground_truth, strict=True):
        own = found["box_classes"] == label
        found = {k: np.asarray(found[k])[own] for k in ("boxes", "scores")}
        wanted = true["box_classes"] == label
        boxes = true["boxes"][wanted]
        sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        none = np.zeros(len(true["boxes"]), bool)
        true = {
            "boxes": boxes,
            "crowd": true.get("box_is_crowd", none)[wanted],
            "difficult": true.get("box_is_difficult", none)[wanted],
            "areas": true["box_areas"][wanted]
            if "box_areas" in true
            else sizes,
        }
        values, right, left_out, number = matched(
            found, true, threshold, area, count
        )
        kept = ~np.array(left_out, bool)
        scores.append(values[kept])
        hits.append(right.astype(bool)[kept])
        total += number
    if not total:
        return np.nan, np.nan
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.cumsum(np.concatenate(hits)[order])
    if not right.size:
        return 0.0, 0.0
    precision = right / np.arange(1, len(right) + 1)
    highest = [
        precision[right / total >= recall].max(initial=0)
        for recall in np.linspace(0, 1, 101)
    ]
    return np.mean(highest), right[-1] / total
