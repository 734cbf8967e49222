"""Whether a summary.json holds what a report reads: one clear line if it does not."""

from collections.abc import Mapping

from dlerse_jax.runs.records import Run

KINDS = {"agent": str, "dataset": str, "protocol": str, "split": int, "summary": dict}
OPTIONAL_KINDS = {"baselines_validation": dict, "selected": list}
BOUNDS = {"mean", "low", "high"}
WHERE_GIVEN = {"baselines": dict, "dataset_statistics": dict}


def check_result(run: Run) -> None:
    """ValueError names the file, the key and what to do."""
    for key, kind in (KINDS | OPTIONAL_KINDS).items():
        found = run.result.get(key)
        if not isinstance(found, kind) and not (found is None and key not in KINDS):
            raise _damaged(run, f"{key} should be {kind.__name__}, got {found!r:.60}")
    for key, kind in WHERE_GIVEN.items():
        found = run.result.get(key, kind())
        if not isinstance(found, kind):
            raise _damaged(run, f"{key} should be {kind.__name__}, got {found!r:.60}")
    summaries = {run.agent: run.result["summary"]} | run.result.get("baselines", {})
    for agent, summary in summaries.items():
        if not _is_summary(summary):
            raise _damaged(run, f"the summary of {agent!r:.60} has no intervals")


def _is_summary(summary: object) -> bool:
    return (
        isinstance(summary, Mapping)
        and isinstance(metrics := summary.get("metrics"), Mapping)
        and all(
            isinstance(i, Mapping)
            and i.keys() >= BOUNDS
            and all(_is_number(i[bound]) for bound in BOUNDS)
            for i in metrics.values()
        )
    )


def _is_number(value: object) -> bool:
    """Whether it is one, or the null that stands for none."""
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool)
    )


def _damaged(run: Run, problem: str) -> ValueError:
    return ValueError(
        f"{run.directory / 'summary.json'}: {problem}; remove the file and run the same"
        " command again"
    )
