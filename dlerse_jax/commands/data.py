"""`dlerse data stats` and `dlerse data fetch NAME`, once the flags are parsed."""

import json
import sys

from rich.console import Console
from rich.table import Table

from dlerse_jax.data.fetch import fetch_dataset
from dlerse_jax.data.summary import dataset_statistics
from dlerse_jax.types import Dataset


def stats(dataset: Dataset, as_json: bool) -> None:
    """Writes the data set's numbers and the reader's notes to standard output."""
    statistics = dataset_statistics(dataset)
    if as_json:
        summary = {"name": dataset.name, **statistics, "notes": list(dataset.notes)}
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
        return
    table = Table(title=dataset.name, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, number in statistics.items():
        text = f"{number:,}" if isinstance(number, int) else f"{number:.4g}"
        table.add_row(name.replace("_", " "), text)
    console = Console()
    console.print(table)
    for note in dataset.notes:
        console.print(f"- {note}", markup=False, highlight=False)


def fetch(name: str) -> None:
    """Downloads and unzips a public data set; writes its folder to standard output."""
    sys.stdout.write(f"{fetch_dataset(name)}\n")
