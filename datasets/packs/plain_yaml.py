"""YAML as a writer means it: every scalar is the text that was typed, and what is wrong is told with its line.

YAML would make nothing of `Null`, false of `No`, 5400 of `1:30:00` and a date of `2089-10-01`. A field that wants a
number reads it from the text. Size and depth are known before anything is built.
"""

from __future__ import annotations

from typing import Any

import yaml

from sagaforge.datasets.packs.zip_archive import UploadLimits
from sagaforge.errors import InvalidInput, TooLarge
from sagaforge.text.characters import MAX_NAME_CHARS, check_text, with_plain_line_ends

# libyaml where it is compiled in: ten times faster, which bounds what a huge file can cost. Base: nothing is guessed.
LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
QUOTE = "put the text in quotes"
# What the parser says, or a part of it → what it means here.
PROBLEMS = {
    "mapping values are not allowed": f"a colon stands inside a text, or a line is indented wrongly; {QUOTE}",
    "cannot start any token": f"a text may not begin with this character; {QUOTE}",
    "unexpected end of stream": "a quotation mark is opened and never closed",
    "document separator": "a quotation mark is opened and never closed",
    "did not find expected ',' or ']'": "a list is opened with '[' and not closed, or lacks a comma",
    "did not find expected ',' or '}'": "keys are opened with '{' and not closed, or lack a comma",
    "did not find expected key": "expected `key: text`; a line is indented wrongly, or a quotation ends early",
    "did not find expected '-'": "expected another entry of the list, beginning with '-': a line is indented wrongly",
    "block sequence entries are not allowed": "a list must begin on its own line under its key",
    "could not find expected ':'": f"expected `key: text`; a text over several lines is indented; {QUOTE}",
    "unknown escape character": "a backslash in double quotes begins an escape; write \\\\, or use single quotes",
    "escape": "the escape stands for no character; write the character itself",
    "another document": "there is a second document after `---`; put all of it in one",
    "alias": f"'*' begins an alias; {QUOTE}",
    "anchor": f"'&' begins an anchor; {QUOTE}",
    "tag": f"'!' begins a tag; {QUOTE}",
    "directive": f"'%' begins a directive; {QUOTE}",
}


def read_yaml(name: str, text: str, limits: UploadLimits | None = None) -> Any:
    """Dicts, lists and texts; what is left empty is an empty text, as a whole file without content is.

    Raises `TooLarge`, or `InvalidInput` with the line: for aliases, anchors, tags, merge keys, keys that stand twice or
    are no text, and whatever is no YAML.
    """
    limits = limits or UploadLimits()
    if len(text) > limits.max_yaml_chars:
        raise TooLarge(f"{name}: longer than {limits.max_yaml_chars:,} characters; move lore into lorebook.md.")
    try:
        _check_events(name, text, limits)
        node = yaml.compose(text, Loader=LOADER)
        return "" if node is None else _value(name, node)
    except yaml.YAMLError as exc:
        raise _no_yaml(name, text, exc) from None
    except (ValueError, RecursionError, OverflowError) as exc:
        raise InvalidInput(f"{name}: can't be read as YAML ({type(exc).__name__}); {QUOTE}.") from None


def filled(value: Any) -> Any:
    """A value without what was left empty in it."""
    if isinstance(value, dict):
        return {key: filled(inner) for key, inner in value.items() if inner not in (None, "")}
    return [filled(inner) for inner in value if inner not in (None, "")] if isinstance(value, list) else value


def line_of(text: str, path: tuple[str | int, ...]) -> int:
    """The line, from 1, of what stands under `path` in a file that `read_yaml` has read; of the nearest above it."""
    node = yaml.compose(text, Loader=LOADER)
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == part]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            pairs = [(node.value[part], node.value[part])]
        else:
            break
        if not pairs:
            break
        line = pairs[0][0].start_mark.line + 1
        node = pairs[0][1]
    return line


def _check_events(name: str, text: str, limits: UploadLimits) -> None:
    """Events are cheap and flat: what is too deep or too much is refused before anything is built."""
    depth = 0
    for num_nodes, event in enumerate(yaml.parse(text, Loader=LOADER)):
        at = f"{name}, line {event.start_mark.line + 1}"  # type: ignore[union-attr]
        if isinstance(event, yaml.AliasEvent):
            raise InvalidInput(f"{at}: aliases (*{str(event.anchor)[:30]}) are not allowed; {QUOTE}.")
        if anchor := getattr(event, "anchor", None):
            raise InvalidInput(f"{at}: anchors (&{str(anchor)[:30]}) are not allowed; {QUOTE}.")
        if tag := getattr(event, "tag", None):
            raise InvalidInput(f"{at}: tags ({str(tag)[:40]}) are not allowed; {QUOTE}.")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > limits.max_yaml_depth or num_nodes > limits.max_yaml_nodes:
            raise InvalidInput(f"{at}: nested deeper than {limits.max_yaml_depth} levels, or too many entries.")


def _value(name: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return check_text(with_plain_line_ends(node.value), _at(name, node), place="an escape")
    if isinstance(node, yaml.SequenceNode):
        return [_value(name, inner) for inner in node.value]
    found: dict[str, Any] = {}
    for key_node, inner in node.value:
        key = _key(name, key_node)
        if key in found:
            raise InvalidInput(f"{_at(name, key_node)}: the key {key[:40]!r} stands twice; rename or remove one.")
        found[key] = _value(name, inner)
    return found


def _key(name: str, node: Any) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise InvalidInput(f"{_at(name, node)}: a key must be text, not a list or keys.")
    if not node.value.strip():
        raise InvalidInput(f"{_at(name, node)}: a key is empty; write a name before the colon.")
    if node.value == "<<" and not node.style:
        raise InvalidInput(f"{_at(name, node)}: merge keys (<<) are not allowed; write the fields out.")
    if len(node.value) > MAX_NAME_CHARS:
        raise InvalidInput(
            f"{_at(name, node)}: a key has more than the {MAX_NAME_CHARS} characters allowed; shorten it."
        )
    return check_text(node.value, f"{_at(name, node)}: a key", is_name=True, place="an escape")


def _at(name: str, node: Any) -> str:
    return f"{name}, line {node.start_mark.line + 1}"


def _no_yaml(name: str, text: str, exc: yaml.YAMLError) -> InvalidInput:
    mark = getattr(exc, "problem_mark", None)
    problem = str(getattr(exc, "problem", None) or getattr(exc, "reason", None) or "it can't be read")
    if mark is None:
        return InvalidInput(f"{name}: no YAML: {problem[:160]}.")
    line, column = mark.line, mark.column
    rows = text.split("\n")
    # The parser stumbles at the tab, or at what follows it.
    for number in (line, line - 1):
        row = rows[number] if 0 <= number < len(rows) else ""
        indent = row[: len(row) - len(row.lstrip())]
        if "\t" in indent:
            return InvalidInput(
                f"{name}, line {number + 1}, column {indent.index(chr(9)) + 1}: YAML does not allow tabs for "
                "indentation; use spaces."
            )
    words = next((meaning for said, meaning in PROBLEMS.items() if said in problem), problem[:160])
    return InvalidInput(f"{name}, line {line + 1}, column {column + 1}: no YAML: {words}.")
