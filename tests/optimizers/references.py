"""LARS and AdamW in float64 NumPy, as their papers write them."""

import numpy as np


class LARS:
    """You et al., with momentum; vectors are neither decayed nor adapted.

    With `clip` the adapted rate replaces `lr`, which is the highest it may be.
    """

    def __init__(
        self, variables, lr, momentum=0.9, eta=1e-3, decay=1e-6, clip=False
    ):
        self.variables = [np.asarray(v, np.float64).copy() for v in variables]
        self.velocities = [np.zeros_like(v) for v in self.variables]
        self.lr, self.momentum, self.eta, self.decay = lr, momentum, eta, decay
        self.clip = clip

    def step(self, gradients):
        for w, v, g in zip(
            self.variables, self.velocities, gradients, strict=True
        ):
            if w.ndim > 1:
                g = g + self.decay * w
                weight, slope = np.linalg.norm(w), np.linalg.norm(g)
                if weight > 0 and slope > 0:
                    rate = self.eta * weight / slope
                    if self.clip:
                        rate = min(rate, self.lr) / self.lr
                    g = g * rate
            v *= self.momentum
            v += g
            w -= self.lr * v


class AdamW:
    """Loshchilov and Hutter, with Keras' place of epsilon."""

    def __init__(self, variables, lr, decay=0.05, epsilon=1e-8):
        self.variables = [np.asarray(v, np.float64).copy() for v in variables]
        self.first = [np.zeros_like(v) for v in self.variables]
        self.second = [np.zeros_like(v) for v in self.variables]
        self.lr, self.decay, self.epsilon = lr, decay, epsilon
        self.steps = 0

    def step(self, gradients):
        self.steps += 1
        correction = np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for w, m, v, g in zip(
            self.variables, self.first, self.second, gradients, strict=True
        ):
            if w.ndim > 1:
                w -= self.lr * self.decay * w
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= self.lr * correction * m / (np.sqrt(v) + self.epsilon)
