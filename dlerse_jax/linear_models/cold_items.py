"""Vectors of cold items: a ridge regression from features to the vectors of the others.

An item that nobody likes yet has no factor. Its features and the tags that training
users gave it say what it is like; what they mean is learned on items with likes, whose
vectors are known (Gantner et al., Learning Attribute-to-Feature Mappings for Cold-Start
Recommendations, ICDM 2010). The penalty has the least error by generalised
cross-validation (Golub, Heath and Wahba, Technometrics 1979).
"""

from collections.abc import Mapping

import jax
import numpy as np
from scipy import sparse

from dlerse_jax.data.feedback import training_mask
from dlerse_jax.linear_models.spectra import gram_spectrum
from dlerse_jax.types import Dataset

PENALTIES = 10.0 ** np.arange(-3.0, 4.5, 0.5)  # times the mean energy of a component
MOST_COMPONENTS = 1024  # of the features, largest first


def with_cold_items(vectors: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Vectors of items with likes [N - C, D], and below them those of C cold items.

    An item without features gets the mean of those that have some. Returns vectors
    [N, D] themselves where no item is cold.
    """
    if not dataset.num_cold_items:
        return vectors
    features = feature_matrix(dataset)
    num_known = dataset.num_known_items
    found = ridge_predictions(features[:num_known], vectors, features[num_known:])
    return np.concatenate([vectors, found.astype(vectors.dtype)])


def with_zero_rows(rows: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Rows of items with likes, and zeros below them for cold items: [N, D]; the rows
    themselves where no item is cold."""
    if not dataset.num_cold_items:
        return rows
    return np.pad(rows, ((0, dataset.num_cold_items), (0, 0)))


def feature_matrix(dataset: Dataset) -> sparse.csr_matrix:
    """What is known of items beside their likes: [N, M] float64.

    Features of a file and the words that training users gave, each block scaled so that
    its rows have a mean square of 1. Words count log(1 + times), the rarer the more
    (inverse document frequency).
    """
    blocks = [block for block in (_of_file(dataset), _of_tags(dataset)) if block.nnz]
    if not blocks:
        raise ValueError(f"{dataset.name}: no item has a feature or a visible tag")
    num_known = dataset.num_known_items
    scaled = [block / _size(block[:num_known]) for block in blocks]
    return sparse.csr_matrix(sparse.hstack(scaled))


def _size(block: sparse.csr_matrix) -> float:
    """Root mean square of the rows that are not empty; 1 where all are."""
    return (
        float(np.sqrt(block.power(2).sum() / max(np.sum(_has_some(block)), 1))) or 1.0
    )


def _has_some(rows: sparse.csr_matrix) -> np.ndarray:
    return rows.getnnz(axis=1) > 0


def _of_file(dataset: Dataset) -> sparse.csr_matrix:
    found = dataset.item_features
    if found is None:
        return sparse.csr_matrix((dataset.num_items, 0))
    return sparse.csr_matrix(
        (found.values.astype(np.float64), (found.items, found.columns)),
        shape=(dataset.num_items, found.num_columns),
    )


def _of_tags(dataset: Dataset) -> sparse.csr_matrix:
    taggings = dataset.taggings
    if taggings is None:
        return sparse.csr_matrix((dataset.num_items, 0))
    visible = training_mask(dataset)[taggings.users]
    pairs = (taggings.items[visible], taggings.tags[visible])
    times = sparse.csr_matrix(
        (np.ones(visible.sum()), pairs),
        shape=(dataset.num_items, taggings.num_tags),
    )
    uses = np.maximum(times.getnnz(axis=0), 1)
    rarity = np.log(dataset.num_items / uses)
    return sparse.csr_matrix(times.log1p() @ sparse.diags(rarity))


def ridge_predictions(
    features: sparse.csr_matrix, vectors: np.ndarray, wanted: sparse.csr_matrix
) -> np.ndarray:
    """Of wanted [C, M], by a ridge regression of vectors [n, D] on features [n, M].

    It is fitted to the rows that have features, about their mean, on the
    `MOST_COMPONENTS` principal components of these.
    """
    has_some = _has_some(features)
    features, vectors = features[has_some], vectors[has_some].astype(np.float64)
    mean = vectors.mean(axis=0)
    spectrum = gram_spectrum(features, min(*features.shape, MOST_COMPONENTS))
    is_there = spectrum.energies > 1e-9 * spectrum.energies[0]
    energies, directions = spectrum.energies[is_there], spectrum.vectors[:, is_there]
    components = (features @ directions) / np.sqrt(energies)  # [n, K], orthonormal
    explained = components.T @ (vectors - mean)  # [K, D]
    penalty = best_penalty(energies, explained, vectors - mean)
    weights = directions @ (
        explained * (np.sqrt(energies) / (energies + penalty))[:, None]
    )
    return mean + wanted @ weights


def best_penalty(
    energies: np.ndarray, explained: np.ndarray, vectors: np.ndarray
) -> float:
    """The penalty of `PENALTIES` with the least error n |(I - H) Y|^2 / (n - tr H)^2.

    energies [K] of the components U, explained [K, D] = U'Y, vectors [n, D] = Y, whose
    mean of 0 takes one degree of freedom.
    """
    num_rows = len(vectors)
    in_components = np.sum(explained**2, axis=1)
    outside = np.sum(vectors**2) - in_components.sum()

    def error(penalty: float) -> float:
        kept = energies / (energies + penalty)
        residual = outside + np.sum((1 - kept) ** 2 * in_components)
        return residual / max(num_rows - 1 - kept.sum(), 1e-9) ** 2

    candidates = PENALTIES * energies.mean()
    return float(min(candidates, key=error))


def with_cold_rows(tree, dataset: Dataset, item_axes: Mapping[str, int]):
    """A pytree, as trained without cold items, with their rows in the leaves named.

    item_axes: name -> axis of items from the end, as `types.Agent` has it. So what
    training changed, embeddings or biases, is predicted from features too.
    """

    def extended(path, leaf):
        axis = item_axes.get(getattr(path[-1], "key", getattr(path[-1], "name", "")), 0)
        if not axis:
            return leaf
        rows = np.moveaxis(np.asarray(leaf), -axis, 0)
        flat = with_cold_items(rows.reshape(len(rows), -1), dataset)
        return np.moveaxis(flat.reshape(-1, *rows.shape[1:]), 0, -axis)

    return jax.tree_util.tree_map_with_path(extended, tree)
