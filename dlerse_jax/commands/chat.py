"""`dlerse chat RUN`: an evening with a recommender, one item at a time."""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from dlerse_jax.commands.output import lines_for_warnings, say
from dlerse_jax.commands.recommend import person_of
from dlerse_jax.experiment.runner import Interrupted
from dlerse_jax.serving.explain import Explanation
from dlerse_jax.serving.questions import Recommendation
from dlerse_jax.serving.recommender import Recommender
from dlerse_jax.serving.session import Session

HELP = "y: I like it   n: I do not   skip: another one   why   undo   quit"
MOST_REASONS = 3  # that `why` gives
WORDS = {
    "y": "y",
    "yes": "y",
    "n": "n",
    "no": "n",
    "s": "skip",
    "skip": "skip",
    "w": "why",
    "why": "why",
    "?": "why",
    "u": "undo",
    "undo": "undo",
    "q": "quit",
    "quit": "quit",
    "exit": "quit",
}


def chat(values: flags.FlagValues, run: Path) -> None:
    """Shows items until the person quits, or their input ends."""
    with lines_for_warnings():
        recommender = Recommender.load(run, seed=values.seed)
        session = recommender.session(**person_of(values, recommender.names))
    try:
        Conversation(
            recommender, session, name_friends=values["name-friends"].value
        ).run()
    except KeyboardInterrupt:
        raise Interrupted("the conversation is over; nothing of it is kept") from None


class Conversation:
    """What is on the screen: an item, and what was skipped since the last answer."""

    def __init__(
        self, recommender: Recommender, session: Session, *, name_friends: bool = False
    ) -> None:
        self._recommender, self._session = recommender, session
        self._name_friends = name_friends
        self._skipped: list[Any] = []

    def run(self) -> None:
        say(f"{self._recommender!r}")
        say(HELP)
        shown = self._show()
        while shown is not None:
            word = _ask()
            if word in (None, "quit"):
                break
            shown = self._after(word, shown)
        self._end(nothing_left=shown is None)

    def _after(self, word: str, shown: Recommendation) -> Recommendation | None:
        """What is shown after a word of the person."""
        if word == "why":
            self._why(shown)
            return shown
        if word == "undo":
            return self._undo(shown)
        if word == "skip":
            self._skipped.append(shown.item)
        elif word in ("y", "n"):
            self._session.answer(shown.item, liked=word == "y")
            self._skipped = []
        else:
            say(f"  {HELP}")
            return shown
        return self._show()

    def _undo(self, shown: Recommendation) -> Recommendation | None:
        if self._skipped:
            self._skipped.pop()
        elif self._session.answers:
            self._session.undo()
        else:
            say("  nothing was answered yet")
            return shown
        return self._show()

    def _show(self) -> Recommendation | None:
        found = self._session.next(skip=tuple(self._skipped))
        if found is not None:
            chance = (
                ""
                if found.chance is None
                else f"  (chance of a like {found.chance:.0%})"
            )
            say(f"\n{found.title}{chance}")
            say(f"  {self._explain(found).sentence}")
        return found

    def _explain(self, shown: Recommendation) -> Explanation:
        return self._session.explain(shown.item, name_friends=self._name_friends)

    def _why(self, shown: Recommendation) -> None:
        """The shares of friends, answers and popularity, and what weighs most."""
        explanation = self._explain(shown)
        shares = explanation.groups.shares.items()
        say("  " + ", ".join(f"{name} {share:.0%}" for name, share in shares))
        reasons = (*explanation.friends, *explanation.answers)
        for reason in sorted(reasons, key=lambda each: -each.contribution)[
            :MOST_REASONS
        ]:
            if reason.contribution > 0 and reason.instead != shown.title:
                say(f"  {explanation.without(reason)}")

    def _end(self, *, nothing_left: bool) -> None:
        if nothing_left:
            say("\nThat was all there is.")
        names = self._recommender.names
        answers = self._session.answers
        liked = [
            names.title(names.item(item)) for item, is_liked in answers if is_liked
        ]
        of = f"{len(liked)} of {len(answers)}"
        say(f"\nYou liked {of}{': ' + ', '.join(liked) if liked else ''}.")


def _ask() -> str | None:
    """The person's next word, "" where it is none; None at the end of their input."""
    sys.stdout.write("> ")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        sys.stdout.write("\n")
        return None
    if not sys.stdin.isatty():  # a transcript shows what was typed
        sys.stdout.write(line if line.endswith("\n") else line + "\n")
    return WORDS.get(line.strip().lower(), "")
