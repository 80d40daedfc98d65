"""The suspicious readers of a single file under `packs`: text and YAML. `pdf` reads the third kind.

YAML is scanned for its size and depth before anything is built.
"""

from __future__ import annotations

from typing import Any

from sagaforge.datasets.archives import UploadLimits
from sagaforge.datasets.encodings import decode
from sagaforge.errors import InvalidInput, TooLarge

CONTROLS = dict.fromkeys([*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F])
PLAIN_TAGS = ("tag:yaml.org,2002:null",)


def decode_text(name: str, data: bytes, encoding: str | None = None) -> str:
    """The text of a file, by its byte order mark, as UTF-8, or else in the `encoding` that the uploader gave."""
    text = decode(name, data, encoding)
    if any(c in text for c in "\0\ufffe\uffff") or _num_controls(text) > 0:
        raise InvalidInput(f"{name}: holds NUL or control characters, so it is no text file. Save it as UTF-8 text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _num_controls(text: str) -> int:
    return len(text) - len(text.translate(CONTROLS))


# --- YAML -------------------------------------------------------------------------------------------------------------


def load_yaml(name: str, text: str, limits: UploadLimits) -> Any:
    """YAML without aliases, tags, duplicate keys, depth or size beyond the limits. `None` for an empty file."""
    import yaml

    if len(text) > limits.max_yaml_chars:
        raise TooLarge(f"{name}: longer than {limits.max_yaml_chars:,} characters; move lore into lorebook.md.")
    try:
        depth = 0
        # Events first: they are cheap and flat, so depth and aliases are known before anything is built.
        for num_nodes, event in enumerate(yaml.parse(text, Loader=_base_loader())):
            if isinstance(event, yaml.AliasEvent):
                raise InvalidInput(f"{name}: aliases (*{str(event.anchor)[:30]}) are not allowed; write the text out.")
            if tag := getattr(event, "tag", None):
                raise InvalidInput(f"{name}: tags ({str(tag)[:40]}) are not allowed; write plain text.")
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            if depth > limits.max_yaml_depth or num_nodes > limits.max_yaml_nodes:
                raise InvalidInput(f"{name}: nested deeper than {limits.max_yaml_depth} levels, or too many entries.")
        return yaml.load(text, Loader=_strict_loader())
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        problem = str(getattr(exc, "problem", None) or "can't be read")[:160]
        raise InvalidInput(f"{name}: not valid YAML{where}: {problem}.") from None
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError, LookupError) as exc:
        raise InvalidInput(f"{name}: a value can't be read ({type(exc).__name__}); put it in quotes.") from None


def _base_loader() -> Any:
    """libyaml's loader where it is compiled in: ten times faster, which bounds what a huge file can cost."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _strict_loader() -> Any:
    import yaml

    class StrictLoader(_base_loader()):  # type: ignore[misc]
        """Refuses a key that stands twice, where YAML would keep the last; scalars stay as close to text as can be."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key, (key_node, _) in zip(keys, node.value, strict=True):
                if not isinstance(key, (str, int)):
                    raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
            if len(set(map(str, keys))) != len(keys):
                twice = next(k for i, k in enumerate(keys) if k in keys[:i] or str(k) in map(str, keys[:i]))
                raise yaml.MarkedYAMLError(
                    problem=f"the key {str(twice)[:40]!r} stands twice", problem_mark=node.start_mark
                )
            return super().construct_mapping(node, deep)

    # Text stays text: YAML 1.1 would make a date of 2089-10-01, false of "no" and 5400 of 1:30:00.
    StrictLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in PLAIN_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return StrictLoader
