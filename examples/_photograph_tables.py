"""Tables of what the study of real photographs has found."""

import itertools
import statistics

from _study import TITLES as METHODS
from _study import changes, spread

SUPERVISED = "supervised"
TITLES = {**METHODS, SUPERVISED: "supervised, all labels"}


def dense_table(results):
    """Markdown: mean and standard deviation over seeds, and the changes."""
    lines = [
        "| backbone | seeds | mIoU | pixel accuracy | mIoU over VICReg |",
        "|---|---:|---:|---:|---:|",
    ]
    for method, runs in results.items():
        figures = [run["figures"] for run in runs]
        gains = changes(runs, results.get("vicreg", []), "mean_iou")
        cells = [
            TITLES[method],
            str(len(runs)),
            spread([each["mean_iou"] for each in figures], " %"),
            spread([each["pixel_accuracy"] for each in figures], " %"),
            ""
            if method in ("vicreg", SUPERVISED) or not gains
            else spread(gains, sign="+"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def labels_table(results):
    """Markdown: mIoU by method and number of labelled frames."""
    counts = sorted(
        {run["labelled"] for runs in results.values() for run in runs}
    )
    lines = [
        "| fine-tuned from | "
        + " | ".join(f"{count} labelled" for count in counts)
        + " |",
        "|---|" + "---:|" * len(counts),
    ]
    for method, runs in results.items():
        values = by_count(runs)
        cells = [
            spread(values[count], " %") if count in values else ""
            for count in counts
        ]
        lines.append("| " + " | ".join([TITLES[method], *cells]) + " |")
    return "\n".join(lines)


def matches_table(results):
    """Markdown: of how many matches both ends are of one class."""
    lines = [
        "| trained with | by location | by feature | any two places | "
        "distance by feature |",
        "|---|---:|---:|---:|---:|",
    ]
    for method, runs in results.items():
        figures = [run["figures"] for run in runs]
        cells = [
            TITLES[method],
            *(
                spread([100 * each[name] for each in figures], " %")
                for name in ("location", "feature", "chance")
            ),
            spread([each["feature_distance"] for each in figures], " px"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_count(runs, figure="mean_iou"):
    """Values of a figure by number of labelled frames, rising, seeds sorted."""
    counts = sorted({run["labelled"] for run in runs})
    return {
        count: [
            run["figures"][figure] for run in runs if run["labelled"] == count
        ]
        for count in counts
    }


def labels_saved(runs, baseline):
    """How many times the labels the baseline needs for the same mean mIoU.

    The baseline's means are joined by straight lines over the logarithm of the
    number of labels.

    Returns:
        Number of labelled frames to how many times as many; None where none of
        the baseline's lines is as high, or all are higher.
    """
    means = {c: statistics.mean(v) for c, v in by_count(baseline).items()}
    saved = {}
    for count, values in by_count(runs).items():
        wanted = statistics.mean(values)
        saved[count] = None
        for (low, before), (high, after) in itertools.pairwise(means.items()):
            if before <= wanted <= after:
                share = (wanted - before) / ((after - before) or 1)
                saved[count] = low * (high / low) ** share / count
                break
    return saved
