"""Isolation forests, grown by scikit-learn in the fit worker; the daemon never imports this."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from aiops.detect.fitting import Arrays, part, prefixed
from aiops.detect.forest import Forest

TREES = 100
SAMPLES = 256
"""Rows per tree: the paper's choice; more hides anomalies behind each other."""
USUAL, RARE = 0.5, 0.999
"""Quantiles of the score of the rows that the forest grew from; they give the score its scale."""


def fit(ask: Arrays) -> dict[str, NDArray[Any]]:
    """Answer :meth:`aiops.detect.iforest.IForest.ask`: one forest per ``<i>.rows`` float32 [n, features], NaN allowed.

    Returns
    -------
    dict
        ``<i>.`` the arrays of :class:`Forest`, ``median`` float32 [features] and ``scale`` float64 [2]: the usual and
        a rare score; and ``count`` and what names the forests.
    """
    count = int(ask["count"])
    answer: dict[str, NDArray[Any]] = {"count": np.asarray(count)}
    for index in range(count):
        given = part(ask, str(index))
        rows = np.asarray(given.pop("rows"), np.float32)
        answer |= prefixed({**given, **grown(rows)}, str(index))
    return answer


def grown(rows: NDArray[np.float32], trees: int = TREES) -> dict[str, NDArray[Any]]:
    """One forest, the same for the same rows; unknown values are taken for the median of their feature."""
    with np.errstate(all="ignore"):
        median = np.nan_to_num(np.nanmedian(rows, axis=0)).astype(np.float32)
    rows = np.where(np.isfinite(rows), rows, median)
    model = IsolationForest(n_estimators=trees, max_samples=min(SAMPLES, len(rows)), random_state=0, n_jobs=1).fit(rows)
    forest = exported(model)
    scale = np.quantile(forest.score(rows), [USUAL, RARE])
    return {**forest.arrays(), "median": median, "scale": scale}


def exported(model: IsolationForest) -> Forest:
    """Flat arrays of a fitted forest."""
    trees = [estimator.tree_ for estimator in model.estimators_]
    depth = max(int(tree.max_depth) for tree in trees)
    inner = (1 << depth) - 1
    feature = np.zeros((len(trees), inner), np.int16)
    threshold = np.full((len(trees), inner), np.inf, np.float32)
    length = np.zeros((len(trees), 2 * inner + 1), np.float32)
    for row, (tree, used) in enumerate(zip(trees, model.estimators_features_, strict=True)):
        source = _spread(tree, depth)
        split = tree.children_left[source[:inner]] >= 0
        nodes = source[:inner][split]
        feature[row, split] = used[tree.feature[nodes]]
        threshold[row, split] = _rounded_down(tree.threshold[nodes])
        length[row] = _lengths(tree, source)
    return Forest(feature, threshold, length, float(_unsplit(np.array([model.max_samples_]))[0]))


def _spread(tree: Any, depth: int) -> NDArray[np.intp]:
    """Node of the tree that stands at each place of the complete tree; a leaf repeats itself down its left side.

    Places that no row can reach hold the leaf too.
    """
    source = np.zeros((2 << depth) - 1, np.intp)
    for place in range((1 << depth) - 1):
        node = source[place]
        leaf = tree.children_left[node] < 0
        source[2 * place + 1] = node if leaf else tree.children_left[node]
        source[2 * place + 2] = node if leaf else tree.children_right[node]
    return source


def _lengths(tree: Any, source: NDArray[np.intp]) -> NDArray[np.float64]:
    """Expected path length at every place: that of the leaves below, weighted by the rows that fell into them."""
    level = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # parents come before their children
        if tree.children_left[node] >= 0:
            level[[tree.children_left[node], tree.children_right[node]]] = level[node] + 1
    rows = np.asarray(tree.n_node_samples, float)
    length = level + _unsplit(rows)
    for node in range(tree.node_count - 1, -1, -1):
        left, right = tree.children_left[node], tree.children_right[node]
        if left >= 0:
            length[node] = (rows[left] * length[left] + rows[right] * length[right]) / rows[node]
    return np.asarray(length[source])


def _unsplit(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Mean path length of an unsuccessful search in a binary search tree of that many rows: what a leaf leaves out."""
    many = np.maximum(rows, 2.0)
    length = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, length))


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Largest float32 that is not above: comparing float32 rows with it decides as scikit-learn does."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
