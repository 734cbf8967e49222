"""`dataset.npz` of a run directory: what its agent was made of.

With it a trained agent can be asked long after the data files are gone.
"""

from collections.abc import Sequence
from pathlib import Path

from dlerse_jax.data.storage import dataset_bytes, known_part, read_dataset
from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.types import Dataset

DATASET_NAME = "dataset.npz"


def keep_dataset(
    workdirs: Sequence[str | Path], known: Dataset, data_digest: str
) -> None:
    """Writes the data set into the run directories that do not have it.

    known: what agents are built on, of which `known_part` is kept; data_digest is of
    the whole data set.
    """
    paths = [Path(workdir) / DATASET_NAME for workdir in workdirs]
    missing = [path for path in paths if not path.exists()]
    if missing:
        content = dataset_bytes(known_part(known), origin=data_digest)
        for path in missing:
            write_atomically(path, content)


def kept_dataset(workdir: str | Path, data_digest: str | None) -> Dataset | None:
    """What was kept; None where nothing was, as in runs of version 0.2.

    ValueError where it is damaged or of other data than data_digest.
    """
    path = Path(workdir) / DATASET_NAME
    return read_dataset(path, origin=data_digest) if path.exists() else None
