"""`dlerse search`: trials of a search file, and the best of them.

Of agents that learn, the best one is evaluated on test users as well.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from dlerse_jax.commands.output import say
from dlerse_jax.evaluation.summary import interval_text, table_columns
from dlerse_jax.experiment.policy_search import (
    TUNED_NAME,
    read_tuned,
    run_policy_trials,
    without_choice,
)
from dlerse_jax.experiment.search import (
    Search,
    best_trial,
    learns_nothing,
    num_ended,
    open_study,
    read_search,
    run_trials,
)
from dlerse_jax.runs.directory import check_holds_runs
from dlerse_jax.runtime.directory_lock import locked


def define_flags(values: flags.FlagValues) -> None:
    """The flags that only this command reads."""
    flags.DEFINE_string("search", "", "search file", flag_values=values)
    flags.DEFINE_integer("trials", 20, "in all", lower_bound=1, flag_values=values)


def search(values: flags.FlagValues, base: ConfigDict, workdir: Path) -> None:
    """Runs the trials that are left, and names the best one.

    ValueError where another process searches in the same folder.
    """
    chosen = read_search(values.search)
    check_holds_runs(workdir)
    with locked([workdir]):
        _search(values, chosen, base, workdir)


def _search(
    values: flags.FlagValues, chosen: Search, base: ConfigDict, workdir: Path
) -> None:
    if learns_nothing(base):
        base = without_choice(base, values["config"].override_values)
    study = open_study(workdir, chosen, base)
    left = max(values.trials - num_ended(study), 0)
    say(f"{left} trials to run ({num_ended(study)} done before)")
    if learns_nothing(base):
        _search_policy(values, study, chosen, base, workdir)
        return
    outcomes = run_trials(
        study,
        chosen,
        base,
        workdir,
        values.trials,
        given=values["config"].override_values,
        quiet=values.quiet,
    )
    for outcome in outcomes:
        result = outcome.reason or f"validation {outcome.precision:.3f}"
        say(f"{outcome.directory.name}  {outcome.state}  {result}")
    if best := best_trial(study, workdir):
        params, precision, summary = best
        settings = ", ".join(f"{name}={value:.4g}" for name, value in params.items())
        say(f"best on validation users: {settings}, {precision:.3f}")
        metrics = summary["summary"]["metrics"]
        tests = [
            f"{title} {interval_text(metrics[name])}"
            for name, title in table_columns(metrics).items()
        ]
        say(f"on test users: {', '.join(tests)}")
    say(f"search saved in {workdir}; `dlerse report {workdir}` makes the page")


def _search_policy(values, study, chosen: Search, base: ConfigDict, workdir: Path):
    """The trials of a policy without learning; the best numbers, as flags take them."""
    given = values["config"].override_values
    trials = run_policy_trials(study, chosen, base, workdir, values.trials, given=given)
    for number, precision in trials:
        say(f"trial {number}  validation {precision:.4f}")
    found = read_tuned(workdir)
    say(
        f"best on {found['num_users']} validation users of {found['dataset']}, split "
        f"{found['split']}: {found['best']:.4f}, {found['before']:.4f} before"
    )
    say(" ".join(f"--config.{key}={x}" for key, x in found["settings"].items()))
    say(f"search saved in {workdir}; {TUNED_NAME} has these numbers")
