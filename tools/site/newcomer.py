"""Ten questions of a newcomer, and where the site answers them.

They were written before the pages. `check.py` follows them in the built site:
the first click is on a link in the text of the first page, the second on one in
the text, or the table of contents, of the page it leads to; and what answers
must stand under the heading that is reached.
"""

from typing import NamedTuple


class Question(NamedTuple):
    """A question.

    Attributes:
        text: what the newcomer asks.
        place: page of the answer, as its address in the site, perhaps with the
            heading.
        answer: a piece of text that stands there.
    """

    text: str
    place: str
    answer: str


QUESTIONS = (
    Question(
        "What is this, and is it for me?",
        "",
        "without labels",
    ),
    Question(
        "I have a folder of photographs and no labels. What do I type?",
        "i_have_i_want/#pretraining",
        "keras-vicregl pretrain photographs/",
    ),
    Question(
        "I have 20 frames with masks and want a segmentation. How?",
        "your_own_masks/#twenty-frames",
        "frozen",
    ),
    Question(
        "How do I see that a training has collapsed, and what do I do?",
        "questions/#has-it-collapsed",
        "emb_std",
    ),
    Question(
        "My GPU holds 64 images only. Is that enough?",
        "questions/#my-batch-is-small",
        "expander_units",
    ),
    Question(
        "Which backend and precision should I take, how much memory do I need?",
        "backend_precision_memory/#memory",
        "MiB",
    ),
    Question(
        "My machine has JAX or PyTorch and no TensorFlow. Does it work?",
        "questions/#tensorflow-is-not-installed",
        "--no-deps",
    ),
    Question(
        "I use lightly. What is VICRegLLoss called here?",
        "coming_from/#lightly",
        "VICRegLLoss",
    ),
    Question(
        "It was killed in the night. How does it go on?",
        "questions/#it-was-stopped",
        "same command",
    ),
    Question(
        "How do I get the backbone into PyTorch, ONNX or TensorFlow Serving?",
        "i_have_i_want/#use-what-is-trained",
        "torchvision",
    ),
)
