"""An isolation forest as flat arrays: all rows of a tick walk down all trees at once.

Every tree is stored as a complete binary tree of one depth, node i with the children 2i+1 and 2i+2. A leaf that
scikit-learn has higher up is continued to the bottom by nodes that always go left and have the leaf's value. So a
step down is arithmetic and three gathers, the same for every row and tree, and needs no child pointers.

Scores equal ``IsolationForest.score_samples`` with the sign turned: about 0.5 is ordinary, towards 1 is isolated.
See Liu, Ting and Zhou, Isolation Forest, ICDM 2008.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_BLOCK = 192
"""Rows walked at a time, so that what is gathered stays in the cache."""
_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Forest:
    """The arrays; see the module.

    Attributes
    ----------
    feature
        int16 [trees, 2**depth − 1], feature that an inner node looks at.
    threshold
        float32 [trees, 2**depth − 1]; a row with at most that much goes left.
    length
        float32 [trees, 2**(depth+1) − 1]: path length expected below a node, counted from the root; exact in the
        bottom row, which holds the leaves (with the correction for the rows that a leaf did not split).
    normal_length
        Path length that data without structure would have, > 0.
    """

    feature: NDArray[np.int16]
    threshold: _Floats
    length: _Floats
    normal_length: float

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Take over what :meth:`arrays` gave.

        Raises
        ------
        ValueError
            When the shapes do not belong together.
        """
        feature = np.ascontiguousarray(arrays["feature"], np.int16)
        threshold = np.ascontiguousarray(arrays["threshold"], np.float32)
        length = np.ascontiguousarray(arrays["length"], np.float32)
        inner = feature.shape[1] if feature.ndim == 2 else -1
        whole = inner >= 0 and (inner + 1) & inner == 0
        if not whole or threshold.shape != feature.shape or length.shape != (len(feature), 2 * inner + 1):
            raise ValueError(f"{feature.shape}, {threshold.shape} and {length.shape} are no complete trees")
        return cls(feature, threshold, length, float(arrays["normal_length"]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The same as named arrays."""
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "length": self.length,
            "normal_length": np.asarray(self.normal_length),
        }

    @property
    def depth(self) -> int:
        """Steps from the root to the bottom."""
        return int(self.feature.shape[1]).bit_length()

    def score(self, rows: _Floats) -> NDArray[np.float64]:
        """How isolated each row is, 0 … 1, float64 [n]; ``rows`` float32 [n, features], finite."""
        trees = len(self.feature)
        bottom = self.length[:, -(1 << self.depth) :].ravel()
        first = (np.arange(trees, dtype=np.intp) << self.depth)[:, np.newaxis]
        total = np.empty(len(rows))
        for begin in range(0, len(rows), _BLOCK):
            leaf = self._leaves(rows[begin : begin + _BLOCK])
            leaf += first
            total[begin : begin + _BLOCK] = bottom.take(leaf).sum(axis=0, dtype=np.float64)
        return np.asarray(2.0 ** (-total / (trees * self.normal_length)))

    def shares(self, row: _Floats) -> NDArray[np.float64]:
        """What each feature did to isolate one row, float64 [features], in units of the normal path length.

        At a node the expected path length changes from that of the node to that of the child taken; the change is
        put down to the feature that was asked, and averaged over the trees. The shares add up to (expected length at
        the root − length of the row's path) / normal length: positive isolates, negative is ordinary. That a feature
        is asked early or late in a tree is chance, so shares below some hundredths mean nothing.
        """
        trees = np.arange(len(self.feature))
        node = np.zeros(len(trees), np.intp)
        total = np.zeros(len(row))
        for _ in range(self.depth):
            feature = self.feature[trees, node]
            child = 2 * node + 1 + (row[feature] > self.threshold[trees, node])
            np.add.at(total, feature, self.length[trees, node] - self.length[trees, child])
            node = child
        return total / (len(trees) * self.normal_length)

    def _leaves(self, rows: _Floats) -> NDArray[np.intp]:
        """Place in the bottom row, intp [trees, n]."""
        trees, inner = self.feature.shape
        features, thresholds, values = self.feature.ravel(), self.threshold.ravel(), rows.ravel()
        root = (np.arange(trees, dtype=np.intp) * inner)[:, np.newaxis]
        begin = np.arange(len(rows), dtype=np.intp) * rows.shape[1]
        place = np.zeros((trees, len(rows)), np.intp)
        for level in range(self.depth):
            node = place + (root + ((1 << level) - 1))
            where = begin + features.take(node)
            right = values.take(where) > thresholds.take(node)
            place += place
            place += right
        return place
