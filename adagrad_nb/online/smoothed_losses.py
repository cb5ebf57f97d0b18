"""Kernel of losses and slopes of all rows, with smoothing of losses that have kinks."""

from ..compiler.jit import jit
from ..records.losses import slope, value

BISECTIONS = 60


@jit
def evaluate_losses(loss, y, scores, smoothing, values, slopes, points):
    """values, slopes = Moreau envelope of the loss and its derivative at the scores; points = the proximal points

    The envelope is min over q of loss(q) + (q - p)² / (2 smoothing).  The slope is a subgradient of the loss at the
    proximal point.  With a smoothing of 0, the point is p and the value is the loss.
    """
    for r in range(scores.shape[0]):
        p = scores[r]
        s = slope(loss, y[r], p)
        if smoothing == 0 or s == 0:
            values[r], slopes[r], points[r] = value(loss, y[r], p), s, p
            continue
        # The slope decreases in magnitude on the way to the proximal point, so that is within this distance.
        near, far = p, p - smoothing * s
        for _ in range(BISECTIONS):
            q = near + (far - near) / 2
            if (p - q) / s < smoothing * slope(loss, y[r], q) / s:
                near = q
            else:
                far = q
        q = far
        slopes[r], points[r] = (p - q) / smoothing, q
        values[r] = value(loss, y[r], q) + (p - q) * (p - q) / (2 * smoothing)
