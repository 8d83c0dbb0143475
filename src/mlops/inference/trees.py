"""Shapley values of a tree ensemble, exactly, with numpy.

Method: the path-dependent tree explanation of Lundberg et al., "From local explanations to global understanding with
explainable AI for trees", Nature Machine Intelligence 2 (2020), https://doi.org/10.1038/s42256-019-0138-9: a column
that is not known is averaged over by the shares of training rows that went each way.

A leaf asks one thing of each of the d columns on its path. Let ``o`` be 1 where the row answers as the leaf wants and
0 elsewhere, ``z`` the share of training rows that went the leaf's way there, and ``v`` the leaf's value. The Shapley
value of column i over the subsets S of the others is the sum of |S|! (d - |S| - 1)! / d! * (o_i - z_i) v * the product
of o over S and of z outside S. That fraction is the integral of t^|S| (1 - t)^(d - |S| - 1) over [0, 1], so it is

    (o_i - z_i) v * the integral of the product over j ≠ i of (t o_j + (1 - t) z_j)

The integrand is a polynomial of degree d - 1 in t, so Gauss and Legendre's rule with d/2 points gives it exactly. No
subset is ever listed, and all leaves with as many columns are done at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

#: Numbers in one block of work (a few hundred kilobytes: what a processor keeps close).
BLOCK = 60_000


class UnknownTreesError(ValueError):
    """An ensemble in a form that this cannot explain; the message says which."""


class _Leaves:
    """Leaves whose paths ask ``d`` columns. Arrays of shape (d, leaves), ``values`` (targets, leaves)."""

    __slots__ = ("columns", "high", "low", "missing", "values", "zeros")

    def __init__(
        self, columns: IntArray, low: Array, high: Array, missing: Array, zeros: FloatArray, values: FloatArray
    ) -> None:
        self.columns = columns
        self.low = low  # a value answers as the leaf wants when it is above low and not above high
        self.high = high
        self.missing = missing  # whether a missing value does
        self.zeros = zeros
        self.values = values


class Trees:
    """An ensemble, compiled.

    Attributes
    ----------
    targets : how many numbers it gives a row.
    base : float64, (targets,): what it gives on average over its training rows.
    work : steps for one row; time is proportional to it.
    """

    def __init__(self, attributes: Mapping[str, Any], owner: IntArray, owners: int) -> None:
        """``attributes`` of a TreeEnsembleRegressor; ``owner``: which feature each of its columns belongs to."""
        self._owner = owner
        self._owners = owners
        self.targets = int(attributes["n_targets"])
        self.base = np.zeros(self.targets)
        bases = attributes.get("base_values")
        if bases is not None and len(bases):
            self.base += np.asarray(bases, np.float64)
        self._groups: list[_Leaves] = []
        for group in _compile(attributes, self.targets, len(owner)):
            self._groups.append(group)
            self.base += (group.values * group.zeros.prod(axis=0)).sum(axis=1)
        self.work = sum(g.zeros.size * ((len(g.zeros) + 1) // 2) for g in self._groups)

    def contributions(self, matrix: Array) -> FloatArray:
        """Per row of the ensemble's own input (rows, columns): float64, (rows, owners, targets).

        They and :attr:`base` add up to what the ensemble gives.
        """
        result = np.zeros((len(matrix), self._owners, self.targets))
        for group in self._groups:
            depth = len(group.zeros)
            if depth == 0:  # a tree that is one leaf depends on nothing
                continue
            points, weights = np.polynomial.legendre.leggauss((depth + 1) // 2)
            points, weights = (points + 1) / 2, weights / 2
            step = max(1, BLOCK // (depth * len(points)))
            for start in range(0, group.zeros.shape[1], step):
                self._block(group, slice(start, start + step), matrix, (points[:, None], weights[:, None]), result)
        return result

    def _block(
        self, group: _Leaves, part: slice, matrix: Array, rule: tuple[FloatArray, FloatArray], result: FloatArray
    ) -> None:
        """Add what some leaves say to ``result``. Arrays here are (columns of a path, points, leaves)."""
        points, weights = rule
        columns, zeros, values = group.columns[:, part], group.zeros[:, part], group.values[:, part]
        low, high, missing = group.low[:, part], group.high[:, part], group.missing[:, part]
        owners = self._owner[columns].ravel()
        unknown = zeros[:, None] * (1 - points)
        for row, total in zip(matrix, result, strict=True):
            asked = row[columns]
            ones = (asked > low) & (asked <= high)
            ones |= np.isnan(asked) & missing
            factors = unknown + ones[:, None] * points
            others = np.multiply.reduce(factors, axis=0)
            others *= weights
            np.divide(others, factors, out=factors)
            shares = np.add.reduce(factors, axis=1)
            shares *= ones - zeros
            for target, value in enumerate(values):
                total[:, target] += np.bincount(owners, (shares * value).ravel(), minlength=self._owners)


def _compile(attributes: Mapping[str, Any], targets: int, columns: int) -> Iterator[_Leaves]:
    """The leaves of all trees, grouped by how many columns their paths ask."""
    forest = _Forest(attributes, columns)
    values = _leaf_values(attributes, forest.places, len(forest.parent), targets)[forest.leaves]
    leaf, child = forest.edges()
    above = forest.parent[child]
    column = forest.column[above]
    # what a path asks of one column is one interval: join the edges of each (leaf, column)
    order = np.lexsort((column, leaf))
    leaf, column, child, above = leaf[order], column[order], child[order], above[order]
    starts = np.flatnonzero((np.diff(leaf, prepend=-1) != 0) | (np.diff(column, prepend=-1) != 0))
    yes, threshold = forest.is_yes[child], forest.threshold[above]
    low = _joined(np.maximum, np.where(yes, np.float32(-np.inf), threshold), starts)
    high = _joined(np.minimum, np.where(yes, threshold, np.float32(np.inf)), starts)
    missing = _joined(np.logical_and, forest.missing_yes[above] == yes, starts)
    zeros = _joined(np.multiply, forest.cover[child] / forest.cover[above], starts)
    leaf, column = leaf[starts], column[starts]
    depths = np.bincount(leaf, minlength=len(forest.leaves))
    firsts = np.cumsum(depths) - depths
    for depth in np.unique(depths).tolist():
        chosen = np.flatnonzero(depths == depth)
        at = firsts[chosen] + np.arange(depth)[:, None]
        yield _Leaves(column[at], low[at], high[at], missing[at], zeros[at], values[chosen].T)


def _joined(how: np.ufunc, values: Array, starts: IntArray) -> Array:
    result: Array = how.reduceat(values, starts) if len(starts) else values
    return result


class _Forest:
    """The nodes of all trees. Arrays have shape (nodes,); ``is_yes``: a node is where its parent's answer is yes."""

    def __init__(self, attributes: Mapping[str, Any], columns: int) -> None:
        modes = np.array(attributes["nodes_modes"])
        is_leaf = modes == b"LEAF"
        if not (is_leaf | (modes == b"BRANCH_LEQ")).all():
            raise UnknownTreesError("its trees compare in a way other than 'less or equal'")
        tree = attributes["nodes_treeids"]
        self.places = _Places(tree, attributes["nodes_nodeids"])
        self.leaves, inner = np.flatnonzero(is_leaf), np.flatnonzero(~is_leaf)
        yes = self.places.of(tree[inner], attributes["nodes_truenodeids"][inner])
        no = self.places.of(tree[inner], attributes["nodes_falsenodeids"][inner])
        self.cover = _covers(attributes, inner, yes, no)
        self.parent = np.full(len(tree), -1)
        self.parent[yes], self.parent[no] = inner, inner
        self.is_yes = np.zeros(len(tree), bool)
        self.is_yes[yes] = True
        self.column = np.asarray(attributes["nodes_featureids"])
        if self.column.max(initial=0) >= columns:
            raise UnknownTreesError("its trees read columns that are not there")
        self.threshold = np.asarray(attributes["nodes_values"], np.float32)
        tracks = attributes.get("nodes_missing_value_tracks_true")
        self.missing_yes = np.zeros(len(tree), bool) if tracks is None else np.asarray(tracks) != 0

    def edges(self) -> tuple[IntArray, IntArray]:
        """Every edge of the paths to all leaves: the leaf's number, and the node that the edge leads to."""
        leaf, child = [], []
        alive, at = np.arange(len(self.leaves)), self.leaves
        while len(at):
            inside = self.parent[at] >= 0
            alive, at = alive[inside], at[inside]
            leaf.append(alive)
            child.append(at)
            at = self.parent[at]
            if len(leaf) > len(self.parent):
                raise UnknownTreesError("its nodes do not form trees")
        return np.concatenate(leaf), np.concatenate(child)


class _Places:
    """Where a (tree, node) stands in the ensemble's lists."""

    def __init__(self, tree: IntArray, number: IntArray) -> None:
        self._span = int(number.max(initial=0)) + 1
        keys = tree * self._span + number
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        if (self._keys[1:] == self._keys[:-1]).any():
            raise UnknownTreesError("its nodes do not form trees")

    def of(self, tree: IntArray, number: IntArray) -> IntArray:
        keys = tree * self._span + number
        found = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        if (self._keys[found] != keys).any():
            raise UnknownTreesError("its nodes do not form trees")
        places: IntArray = self._order[found]
        return places


def _covers(attributes: Mapping[str, Any], inner: IntArray, yes: IntArray, no: IntArray) -> FloatArray:
    """Training rows (or their weight) that reached each node. Other tools write ones there, which are none."""
    rates = attributes.get("nodes_hitrates")
    cover = np.asarray(rates if rates is not None else (), np.float64)
    if len(cover) != len(attributes["nodes_treeids"]):
        raise UnknownTreesError("it does not say how many training rows reached each node")
    if (cover <= 0).any() or not np.allclose(cover[yes] + cover[no], cover[inner], rtol=1e-4):
        raise UnknownTreesError("it does not say how many training rows reached each node")
    return cover


def _leaf_values(attributes: Mapping[str, Any], places: _Places, nodes: int, targets: int) -> FloatArray:
    """float64, (nodes, targets); zero where a node says nothing."""
    values = np.zeros((nodes, targets))
    at = places.of(attributes["target_treeids"], attributes["target_nodeids"])
    np.add.at(values, (at, attributes["target_ids"]), np.asarray(attributes["target_weights"], np.float64))
    how = attributes.get("aggregate_function", b"SUM")
    if how not in (b"SUM", b"AVERAGE") or attributes.get("post_transform", b"NONE") != b"NONE":
        raise UnknownTreesError("its trees are not summed or averaged")
    return values / len(np.unique(attributes["nodes_treeids"])) if how == b"AVERAGE" else values
