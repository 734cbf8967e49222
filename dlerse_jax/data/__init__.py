"""From files, data frames or a seed to a `Dataset`. NumPy and polars only, no JAX.

A file format has one reader (`hetrec`, `ratings_text`, `recbole`, `tables`) that yields
`RawTables`; `prepare` filters and indexes any of them, `split` makes the folds,
`locate` and `fetch` know where files live. `loading.load_dataset` ties these together.
"""

from dlerse_jax.data.fetch import fetch_dataset
from dlerse_jax.data.layout import TableLayout
from dlerse_jax.data.loading import load_dataset
from dlerse_jax.data.split import check_folds, split_users
from dlerse_jax.data.summary import dataset_digest, dataset_statistics
from dlerse_jax.data.synthetic import synthetic_dataset

__all__ = [
    "TableLayout",
    "check_folds",
    "dataset_digest",
    "dataset_statistics",
    "fetch_dataset",
    "load_dataset",
    "split_users",
    "synthetic_dataset",
]
