"""What a policy without learning is made of, before its settings are applied.

A constructor makes its own from the data set. Who makes many policies that differ in
settings alone, or one without some users' likes, makes the sources and hands them in.
"""

import dataclasses
from typing import Unpack

from scipy import sparse

from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.graph.neighbour_means import (
    SocialFeedback,
    social_feedback,
    weigh_by_activity,
)
from dlerse_jax.linear_models.item_factors import (
    SideInformation,
    Spectrum,
    feature_rows,
)
from dlerse_jax.types import Dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """Likes as means and factors read them."""

    social: SocialFeedback  # whose means the prior is: likes as they count
    rows: sparse.csr_matrix  # [U + tags, N] what factors are made of
    spectrum: Spectrum | None = None  # of the rows; None: found where it is needed


def make_sources(
    dataset: Dataset,
    *,
    far_hops: int = 2,
    activity_power: float = 0.0,
    **side: Unpack[SideInformation],
) -> Sources:
    """From a data set's visible likes; ValueError for a number out of range.

    activity_power: of `weigh_by_activity`, in the means alone; 0: alike.
    """
    weighed, rows = feature_rows(visible_likes(dataset), dataset, **side)
    said = weigh_by_activity(weighed, activity_power)
    return Sources(social=social_feedback(dataset, said, far_hops), rows=rows)
