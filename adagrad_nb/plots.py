"""Plots of training and of minimisation.

The functions `draw_…` draw one plot on given axes.  matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .io.archive import atomic_write
from .linear.explanation import feature_name, largest_weights
from .metrics import auc, calibration, roc_curve

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .callbacks import History
    from .linear.model import LinearModel
    from .online.curves import RegretCurves

COLORS = "#1f6f8b", "#d1603d", "#5a8f3c", "#8e5ea2", "#c29b28", "#4c4c4c", "#9aa5ab", "#b0305c"  # of several lines
TEXT_COLOR, PRIMARY_COLOR, SECONDARY_COLOR, MUTED_COLOR = "#222222", "#1f6f8b", "#d1603d", "#9aa5ab"
MAX_NAME = 40  # characters of the name of a feature


def _new_figure(rows, columns):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib; run pip install 'adagrad_nb[plot]'") from error
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _style_axes(axes, title, xlabel, ylabel):
    axes.set_title(title, loc="left", fontsize=11, color=TEXT_COLOR)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(True, color="#e6e9eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_learning(axes: Axes, history: History, test_loss: float | None = None) -> None:
    """Draw the progressive loss of a `History` against the number of rows.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    history : History
    test_loss : float, optional
        Drawn as a horizontal line.
    """
    rows = np.array(history.rows)
    axes.plot(rows, history.recent, color=MUTED_COLOR, linewidth=1, marker=".", label="rows since the previous point")
    axes.plot(rows, history.progressive, color=PRIMARY_COLOR, linewidth=2, label="progressive (all rows so far)")
    if test_loss is not None:
        axes.axhline(test_loss, color=SECONDARY_COLOR, linestyle="--", label=f"test, at the end: {test_loss:.4f}")
    axes.set_xscale("log")
    # Leave out the large losses of the first rows, which would flatten the rest of the curve.
    is_late = rows >= rows[-1] / 512
    losses = np.r_[
        np.array(history.recent)[is_late], np.array(history.progressive)[is_late], test_loss or history.recent[-1]
    ]
    low, high = np.nanmin(losses), np.nanmax(losses)
    padding = 0.08 * max(high - low, 1e-3 * abs(high), 1e-12)
    axes.set_xlim(rows[is_late][0] * 0.9, rows[-1] * 1.1)
    axes.set_ylim(low - padding, high + padding)
    axes.legend(frameon=False, fontsize=8)
    _style_axes(axes, "Mean loss during training", "rows", "mean loss")


def draw_roc(axes: Axes, y: np.ndarray, score: np.ndarray) -> None:
    """Draw the ROC curve and print the area under it.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    y : ndarray of shape (n,)
        Whether each row is positive.
    score : ndarray of shape (n,)
    """
    false, true = roc_curve(y, score)
    axes.fill_between(false, true, color=PRIMARY_COLOR, alpha=0.12, linewidth=0)
    axes.plot(false, true, color=PRIMARY_COLOR, linewidth=2)
    axes.plot([0, 1], [0, 1], color=MUTED_COLOR, linewidth=1, linestyle=":")
    axes.text(0.95, 0.08, f"AUC {auc(y, score):.4f}", ha="right", fontsize=12, color=TEXT_COLOR)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _style_axes(axes, "Test: ROC curve", "false positive rate", "true positive rate")


def draw_calibration(axes: Axes, y: np.ndarray, probability: np.ndarray) -> None:
    """Draw the calibration curve: the fraction of positive rows against the predicted probability.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    y : ndarray of shape (n,)
        Whether each row is positive.
    probability : ndarray of shape (n,)
    """
    predicted, observed, rows = calibration(y, probability)
    error = np.sqrt(observed * (1 - observed) / rows)
    axes.plot([0, 1], [0, 1], color=MUTED_COLOR, linewidth=1, linestyle=":")
    axes.errorbar(predicted, observed, error, color=SECONDARY_COLOR, linewidth=2, marker="o", markersize=4, capsize=2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _style_axes(axes, "Test: calibration, ten quantile bins", "mean predicted probability", "fraction of positives")


def draw_margins(axes: Axes, y: np.ndarray, margin: np.ndarray) -> None:
    """Draw histograms of the decision values of positive and of negative rows.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    y : ndarray of shape (n,)
        Whether each row is positive.
    margin : ndarray of shape (n,)
        Decision values.
    """
    bins = np.histogram_bin_edges(margin, 50).tolist()
    for rows, color, label in ((y, PRIMARY_COLOR, "positive"), (~y, SECONDARY_COLOR, "negative")):
        axes.hist(margin[rows], bins, color=color, alpha=0.5, label=label)
    axes.axvline(0, color=TEXT_COLOR, linewidth=0.8)
    axes.legend(frameon=False, fontsize=8)
    _style_axes(axes, "Test: decision values", "decision value", "rows")


def draw_confusion(axes: Axes, y: np.ndarray, prediction: np.ndarray, classes: np.ndarray) -> None:
    """Draw the confusion matrix, normalised by row.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    y, prediction : ndarray of shape (n,)
        Labels.
    classes : ndarray of shape (n_classes,)
        In increasing order.
    """
    counts = np.zeros((classes.size, classes.size))
    np.add.at(counts, (np.searchsorted(classes, y), np.searchsorted(classes, prediction)), 1)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(fractions), cmap="GnBu", vmin=0, vmax=1)  # the square root makes rare confusions visible
    _style_axes(axes, f"Test: classes, {np.trace(counts) / max(y.size, 1):.1%} correct", "predicted", "true")
    axes.grid(False)
    ticks = np.unique(np.linspace(0, classes.size - 1, min(classes.size, 20)).astype(int))
    axes.set_xticks(ticks, [str(classes[k]) for k in ticks], fontsize=7, rotation=90)
    axes.set_yticks(ticks, [str(classes[k]) for k in ticks], fontsize=7)


def draw_predictions(axes: Axes, y: np.ndarray, prediction: np.ndarray) -> None:
    """Draw predicted against true targets of a regression.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    y, prediction : ndarray of shape (n,)
        Targets.
    """
    axes.plot(y, prediction, ".", color=PRIMARY_COLOR, markersize=3, alpha=0.5)
    ends = [min(np.min(y), np.min(prediction)), max(np.max(y), np.max(prediction))]
    axes.plot(ends, ends, color=MUTED_COLOR, linewidth=1, linestyle=":")
    _style_axes(axes, "Test: predicted against true targets", "true", "predicted")


def draw_weights(axes: Axes, coef: np.ndarray, most: int = 15, name_of: Callable[[int], str] | None = None) -> None:
    """Draw a bar chart of the largest weights of a linear model.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    coef : ndarray of shape (n_features,) or (n_classes, n_features)
        For several classes, the largest weight of each feature is drawn.
    most : int, default 15
        Number of weights.
    name_of : callable, optional
        Function from the number of a feature, from 0, to its name.  By default features are counted from 1.
    """
    order, coef = largest_weights(coef, most)
    order = order[::-1]
    colors = [PRIMARY_COLOR if weight > 0 else SECONDARY_COLOR for weight in coef[order]]
    axes.barh(np.arange(order.size), coef[order], color=colors)
    names = [str(index + 1) if name_of is None else _shorten(name_of(index)) for index in order.tolist()]
    axes.set_yticks(np.arange(order.size), names, fontsize=8, parse_math=False)
    axes.axvline(0, color=TEXT_COLOR, linewidth=0.8)
    count = int(np.count_nonzero(coef))
    _style_axes(
        axes,
        f"Largest of {count:,} non-zero weights",
        "weight",
        "feature, counted from 1" if name_of is None else "feature",
    )


def _shorten(name):
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def plot_training(
    model: LinearModel, history: History, test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None
) -> Figure:
    """Return a figure of the learning curve, the largest weights and, with test data, the quality of the predictions.

    Parameters
    ----------
    model : LinearModel
    history : History
        The callback of the call of `fit_linear`.
    test : (y, scores), optional
        Targets of the test rows, of shape (n,), and their decision values.

    Returns
    -------
    matplotlib.figure.Figure
    """
    is_multiclass = model.coef.ndim == 2
    is_binary = model.classes is not None and not is_multiclass
    figure, axes = _new_figure(1, 2) if test is None else _new_figure(2, 2) if is_binary else _new_figure(1, 3)
    loss = None
    if test is not None:
        y, scores = np.asarray(test[0]), np.asarray(test[1])
        loss = model.loss_of_scores(y, scores)
        _draw_quality(axes[1:-1], model, y, scores)
    draw_learning(axes[0], history, loss)
    draw_weights(axes[-1], model.coef, name_of=functools.partial(feature_name, model))
    return figure


def plot_evaluation(model: LinearModel, y: npt.ArrayLike, scores: npt.ArrayLike) -> Figure:
    """Return a figure of the quality of predictions.

    Two classes have the ROC curve and the calibration curve, or histograms of the decision values if the loss has no
    probabilities.  More classes have the confusion matrix.  Numbers have predicted against true targets.

    Parameters
    ----------
    model : LinearModel
    y : array_like of shape (n,)
        Targets.
    scores : array_like of shape (n,) or (n, n_classes)
        Decision values.

    Returns
    -------
    matplotlib.figure.Figure
    """
    is_binary = model.classes is not None and model.coef.ndim == 1
    figure, axes = _new_figure(1, 2 if is_binary else 1)
    _draw_quality(axes, model, np.asarray(y), np.asarray(scores))
    return figure


def _draw_quality(axes, model, y, scores):
    """Draw the quality of predictions on two axes for two classes, else on one."""
    if model.classes is None:
        draw_predictions(axes[0], y, model.predict_from_scores(scores))
    elif model.coef.ndim == 2:
        draw_confusion(axes[0], y, model.classes[np.argmax(scores, axis=1)], model.classes)
    else:
        positive = y == model.classes[1]
        draw_roc(axes[0], positive, scores)
        if model.has_probabilities:
            draw_calibration(axes[1], positive, model.predict_from_scores(scores))
        else:
            draw_margins(axes[1], positive, scores)


def draw_regret(axes: Axes, curves: RegretCurves) -> None:
    """Draw the regret of each model, as a solid line, and its certificate, dashed, against the number of rows."""
    for m, name in enumerate(curves.names):
        (line,) = axes.plot(curves.rows, curves.regret[m], linewidth=2, label=name)
        axes.plot(curves.rows, curves.certificates[m], linewidth=1, linestyle="--", color=line.get_color())
    axes.set_xscale("log")
    axes.set_yscale("log" if np.all(curves.regret > 0) else "symlog")
    axes.legend(frameon=False, fontsize=8)
    _style_axes(axes, "Regret (solid) and its certificate (dashed)", "rows", "regret")


def plot_regret(curves: RegretCurves) -> Figure:
    """Return a figure of the curves that `adagrad_nb.regret` returns; `save` writes it to a file."""
    figure, (axes,) = _new_figure(1, 1)
    draw_regret(axes, curves)
    return figure


def draw_path(
    axes: Axes,
    value: Callable[[tuple[float, float]], float],
    iterates: np.ndarray,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    minimum: tuple[float, float] | None = None,
) -> None:
    """Draw the iterates of a minimiser over the contours of a function of two variables.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    value : callable
        ``value((x, y)) -> float``.
    iterates : ndarray of shape (m, 2)
    xlim, ylim : (float, float)
        Ranges of the axes.
    minimum : (float, float), optional
        Drawn as a star.
    """
    x, y = np.linspace(*xlim, 240), np.linspace(*ylim, 240)
    heights = np.array([[value((a, b)) for a in x] for b in y])
    depth = np.log1p(heights - heights.min())  # the logarithm shows the shape of flat valleys
    axes.contourf(x, y, depth, levels=24, cmap="GnBu")
    axes.plot(*np.asarray(iterates).T, color=SECONDARY_COLOR, linewidth=1.5)
    axes.plot(*iterates[0], "o", color=SECONDARY_COLOR, label="start")
    if minimum is not None:
        axes.plot(*minimum, "*", color="white", markeredgecolor=TEXT_COLOR, markersize=13, label="minimum")
    axes.set_xlim(*xlim)
    axes.set_ylim(*ylim)
    axes.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=TEXT_COLOR)


def draw_comparison(axes: Axes, comparison: Any) -> None:
    """Draw the median and the quartiles of each method of a comparison.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    comparison : Comparison
        With a known optimum, the difference of the objective from it is drawn on a logarithmic scale.
    """
    optimum = comparison.optimum_value
    for k, name in enumerate(comparison.names):
        bands = [np.where(np.isfinite(band), band - (optimum or 0.0), np.nan) for band in comparison.bands(name)]
        median, low, high = bands if optimum is None else (np.where(band > 0, band, np.nan) for band in bands)
        color = COLORS[k % len(COLORS)]
        axes.plot(comparison.points, median, color=color, linewidth=2, label=name)
        axes.fill_between(comparison.points, low, high, color=color, alpha=0.18, linewidth=0)
    axes.set_xscale("log")
    if optimum is not None:
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    label = "test loss" if comparison.measure == "test_loss" else "objective"
    label += "" if optimum is None else " minus optimum"
    title = f"{comparison.problem}: median and quartiles of {len(comparison.seeds)} runs"
    _style_axes(axes, title, comparison.axis, label)


def plot_comparison(comparison: Any) -> Figure:
    """Return a figure of a comparison.

    Parameters
    ----------
    comparison : Comparison
        Result of `compare`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _new_figure(1, 1)
    draw_comparison(axes[0], comparison)
    return figure


def draw_sparsity(axes: Axes, results: dict[str, tuple[float, float]], title: str) -> None:
    """Draw the error of models against the proportion of their weights that are not zero.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    results : dict of str to (float, float)
        Name, proportion of non-zero weights and error of each model.
    title : str
    """
    for k, (name, (proportion, error)) in enumerate(results.items()):
        axes.plot(proportion, error, "o", color=COLORS[k % len(COLORS)], label=name)
        axes.annotate(f" {name}", (proportion, error), fontsize=8, color=TEXT_COLOR)
    axes.set_xscale("log")
    _style_axes(axes, title, "proportion of non-zero weights", "error")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure atomically: write a temporary file, then rename it to `path`.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or path-like
        The suffix gives the format; without one it is PNG.
    """
    with atomic_write(path) as file:
        figure.savefig(file, format=os.path.splitext(path)[1].lstrip(".") or "png", dpi=130)
