"""`TableLayout`: which file and column of a user's own data is what."""

import dataclasses
import itertools

from dlerse_jax.data.raw import quoted
from dlerse_jax.data.separators import named_separator


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableLayout:
    """File names (suffix optional, in any case, .gz too) and column names.

    A pair of the friends file says that `friend_user` names `friend` as a friend.
    Titles come from the column `title`, in the titles file where one is named, else in
    the interactions file. A features table, in the folder or at a path, names its items
    in the column `item`. An empty string means that there is none: friends = "" is a
    world of strangers, rating = "" counts every row as a like, friend_weight = "" every
    friend the same. separator = "" is found.
    Without a header columns are numbers from 1 on, and the defaults of user, item,
    friend_user and friend stand for 1, 2, 1 and 2.

    ValueError where a titles file has no column to read, where a column that must be
    there is "", or no number though there is no header, or where one column is to be
    two things.
    """

    interactions: str = "interactions"
    friends: str = "friends"
    titles: str = ""
    features: str = ""
    user: str = "user"
    item: str = "item"
    rating: str = ""
    title: str = ""
    friend_user: str = "user"
    friend: str = "friend"
    friend_weight: str = ""
    separator: str = ""
    header: bool = True

    def __post_init__(self) -> None:
        for key in ("interactions", "user", "item", "friend_user", "friend"):
            if not getattr(self, key):
                raise ValueError(f'data.table.{key} is "", and there must be one')
        if self.titles and not self.title:
            raise ValueError(
                f"data.table.titles is {quoted(self.titles)}, and data.table.title "
                "does not say which column of it to read"
            )
        named_separator(self.separator)
        self._refuse_shared("user", "item", "rating")
        if self.friends:
            self._refuse_shared("friend", "friend_user", "friend_weight")

    def _refuse_shared(self, *keys: str) -> None:
        """ValueError where two of these keys, of one file, name the same column."""
        for first, second in itertools.combinations(keys, 2):
            name = self.column(first)
            if name == self.column(second):
                raise ValueError(
                    f"data.table.{first} and data.table.{second} are both "
                    f"{quoted(name)}; name two columns"
                )

    def column(self, key: str) -> str:
        """The column that `key` (user, item, ...) names; its number where no header."""
        name = getattr(self, key)
        if self.header or not name:
            return name
        if name == _DEFAULTS[key]:
            return _POSITIONS[key]
        if not (name.isascii() and name.isdecimal()) or int(name) < 1:
            raise ValueError(
                f"data.table.{key} is {quoted(name)}, and without a header "
                "(data.table.header=False) columns are numbers, the first is 1"
            )
        return f"{int(name)}"


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TableLayout)}
_POSITIONS = {"user": "1", "item": "2", "friend_user": "1", "friend": "2"}
