"""Comments of `defaults.py` by config key, from its syntax tree.

A key is set by an assignment (`network.width = 128  # D`) or by a dictionary
(`{"rank": 64}  # ...`); its comment stands on the same lines, or alone on those above.
A dictionary that is spread into others (`**training`) lends them its comments.
"""

import ast
import io
import tokenize

Comments = dict[str, str]


def comments_of(source: str) -> Comments:
    """Key with dots -> comment, "" where it has none."""
    return _Reader(source).comments


def returned_comments(source: str, function: str) -> Comments:
    """Key with dots -> comment, of the dictionary of dictionaries that it returns."""
    reader, tree = _Reader(source), ast.parse(source)
    lent: dict[str, Comments] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            lent[node.targets[0].id] = reader.dictionary(node.value, lent)
    returned = next(
        node.value
        for node in ast.walk(reader.functions[function])
        if isinstance(node, ast.Return)
    )
    return {
        f"{section.value}.{key}": text
        for section, keys in zip(returned.keys, returned.values, strict=True)
        for key, text in reader.dictionary(keys, lent).items()
    }


def section_comments(source: str) -> Comments:
    """Section with dots -> what is said of it: a comment, or the docstring."""
    return _Reader(source).sections


class _Reader:
    def __init__(self, source: str):
        self.lines = source.splitlines()
        self.inline, self.alone = _comment_lines(source)
        tree = ast.parse(source)
        self.functions = {
            node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)
        }
        self.comments: Comments = {}
        self.sections: Comments = {}
        if "base_config" in self.functions:
            self._read("base_config", "", {})

    def _read(self, name: str, prefix: str, lent: dict[str, Comments]) -> None:
        """One function that fills the section `prefix`."""
        function = self.functions[name]
        if prefix and (text := ast.get_docstring(function)):
            self.sections.setdefault(prefix, " ".join(text.split()))
        lent = dict(lent)
        for statement in ast.walk(function):
            if isinstance(statement, ast.Assign):
                self._assignment(statement, prefix, lent)

    def _assignment(self, statement: ast.Assign, prefix: str, lent: dict) -> None:
        target, value = statement.targets[-1], statement.value
        comment = self._comment(statement)
        called = _called(value)
        if isinstance(target, ast.Name):
            if isinstance(value, ast.Dict):
                lent[target.id] = self.dictionary(value, lent)
            elif called == "ConfigDict" and prefix and comment:
                self.sections[prefix] = _sentence(comment)
            return
        for one in statement.targets:
            key = ".".join(filter(None, [prefix, *_path(one)]))
            self._set(key, value, called, comment, lent)

    def _set(self, key, value, called, comment, lent) -> None:
        if called in self.functions:
            self._read(called, key, lent)
        elif called == "ConfigDict" or isinstance(value, ast.Dict):
            inner = (
                value.args[0] if isinstance(value, ast.Call) and value.args else value
            )
            if isinstance(inner, ast.Dict):
                own = self.dictionary(inner, lent)
                self.comments |= {
                    f"{key}.{k}": text or comment for k, text in own.items()
                }
            elif comment:
                self.sections[key] = _sentence(comment)
        else:
            self.comments[key] = comment

    def dictionary(self, node: ast.Dict, lent: dict[str, Comments]) -> Comments:
        found: Comments = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                found |= lent.get(getattr(value, "id", ""), {})
            else:
                comment = self._comment(key) or found.get(key.value, "")
                found[key.value] = comment
        return found

    def _comment(self, node: ast.AST) -> str:
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        beside = [self.inline[n] for n in lines if n in self.inline]
        if isinstance(getattr(node, "value", None), ast.Dict) and len(lines) > 1:
            beside = beside[:0]  # those of its entries
        after = node.end_lineno + 1
        if beside and node.end_lineno in self.inline and after in self.alone:
            while after in self.alone and self._continues(after):
                beside.append(self.alone[after])
                after += 1
        if beside:
            return " ".join(beside)
        above, first = [], node.lineno - 1
        while first in self.alone:
            above.insert(0, self.alone[first])
            first -= 1
        return " ".join(above)

    def _continues(self, line: int) -> bool:
        """A comment alone belongs to the line above where it stands further in."""
        text = self.lines[line - 1]
        return len(text) - len(text.lstrip()) > 12


def _comment_lines(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Comments beside code, and comments alone on their line, by line number."""
    inline, alone = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            is_alone = token.line.strip().startswith("#")
            (alone if is_alone else inline)[token.start[0]] = token.string.lstrip("# ")
    return inline, alone


def _called(value: ast.expr) -> str:
    is_call = isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
    return value.func.id if is_call else ""


def _path(target: ast.expr) -> list[str]:
    """`config.data.name` -> ["data", "name"]: the first word is a local variable."""
    words = []
    while isinstance(target, ast.Attribute):
        words.insert(0, target.attr)
        target = target.value
    return words


def _sentence(comment: str) -> str:
    return comment[:1].upper() + comment[1:].rstrip(".") + "."
