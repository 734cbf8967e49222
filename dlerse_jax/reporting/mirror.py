"""What W&B gets of a finished run: its table of results, and files as artifacts.

Nothing happens where the log has no mirror. The files are those that are worth keeping
apart from this disk: the summary and config, the report with its figures, and the last
checkpoint alone. What fails here is a warning, and the run is finished all the same.
"""

import logging
from pathlib import Path

from dlerse_jax.runs.log import RunLog
from dlerse_jax.runs.records import read_run

_logger = logging.getLogger(__name__)
RESULT_COLUMNS = ["agent", "friends", "metric", "mean", "low", "high"]


def mirror_results(log: RunLog, workdir: Path, *, artifacts: bool) -> None:
    """Sends the final table and the summary; with `artifacts` the rest as well.

    Writes the run's own report for that.
    """
    if not log.is_mirrored:
        return
    try:
        _mirror(log, workdir, artifacts)
    except Exception as error:  # whatever it is, the numbers are on disk already
        words = " ".join(str(error).split())[:200]
        _logger.warning(
            "the report for W&B failed (%s: %s); the run is complete, `dlerse report"
            " %s` tries again",
            type(error).__name__,
            words,
            workdir,
        )


def _mirror(log: RunLog, workdir: Path, artifacts: bool) -> None:
    result = read_run(workdir).result
    summaries = result.get("baselines", {}) | {result["agent"]: result["summary"]}
    log.log_table("results", RESULT_COLUMNS, _result_rows(summaries))
    names = ("summary.json", "config.json", "evaluation.npz")
    found = [workdir / name for name in names if (workdir / name).exists()]
    log.log_artifact("results", found)
    if artifacts:
        # Here, as Matplotlib takes a second and most runs draw nothing.
        from dlerse_jax.reporting.build import write_report

        page = write_report(workdir)
        log.log_artifact("report", [page, *sorted((page.parent / "figures").iterdir())])
        log.log_artifact("checkpoint", _last_checkpoint(workdir))


def _result_rows(summaries: dict[str, dict]) -> list[list]:
    return [
        [agent, group, metric, interval["mean"], interval["low"], interval["high"]]
        for agent, summary in summaries.items()
        for group, part in ({"all": summary} | summary.get("by_friends", {})).items()
        for metric, interval in part["metrics"].items()
    ]


def _last_checkpoint(workdir: Path) -> list[Path]:
    """The newest one's folder and what all share; none for one that does not learn."""
    found = list((workdir / "checkpoints").glob("*"))
    saved = sorted((p for p in found if p.name.isdigit()), key=lambda p: int(p.name))
    return saved[-1:] + [path for path in found if path.name == "shared"]
