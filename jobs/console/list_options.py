"""Reorder a command line so that list options do not take positionals as values.

The parser gives a list option, such as ``--captions``, every word up to the next flag, and keeps
only the last of repeated list options. :func:`reorder` avoids both: positionals first, then other
options, then each list option once with all of its values.

Once all of a command's positionals are given, all words after a list option are its values. Before,
the first word is; further words are if they have the form ``name=value`` and no positional is
missing without them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

import tyro

# Key of a field's metadata: a positional that is optional only together with these options.
OPTIONAL_WITH = "optional with"
_PAIR = re.compile(r"[A-Za-z_]\w*=", re.ASCII)


@dataclass
class _CommandLine:
    """The words of a command line by role.

    ``lists``: values by flag. ``ambiguous``: values that could be positionals, each with its flag
    and the number of positionals before it.
    """

    positionals: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)
    ambiguous: list[tuple[str, str, int]] = field(default_factory=list)


def reorder(fields: Mapping[str, dataclasses.Field[Any]], words: Sequence[str]) -> list[str]:
    """Return the words of a command line in an order that the parser reads correctly; ``fields``:
    the command's options."""
    positionals = [option for option in fields.values() if _is_positional(option.type)]
    kinds = {
        f"--{name.rstrip('_').replace('_', '-')}": option.type for name, option in fields.items()
    }
    line = _split(kinds, len(positionals), list(words))
    required = sum(_is_required(option, words) for option in positionals)
    missing = max(0, required - len(line.positionals))
    for flag, value, index in reversed(line.ambiguous[len(line.ambiguous) - missing :]):
        line.lists[flag].reverse()
        line.lists[flag].remove(value)
        line.lists[flag].reverse()
        line.positionals.insert(index, value)
    lists = [word for flag, values in line.lists.items() for word in (flag, *values)]
    return [*line.positionals, *line.others, *lists]


def _split(kinds: Mapping[str, Any], positionals: int, remaining: list[str]) -> _CommandLine:
    """Assign each word its role; ``kinds``: the type of each option's value, by flag;
    ``positionals``: how many the command takes."""
    line = _CommandLine()
    while remaining:
        word = remaining.pop(0)
        name, equals, value = word.partition("=")
        flag = name.replace("_", "-")
        if not _is_flag(word):
            line.positionals.append(word)
        elif not _is_list(kinds.get(flag)):
            kind = kinds.get(flag, bool)
            is_bool = getattr(kind, "__origin__", kind) is bool  # also if annotated
            takes_value = not (is_bool or equals)
            line.others += [word, *(remaining.pop(0) for _ in remaining[:takes_value])]
        else:
            values = line.lists.setdefault(flag, [])
            if equals:
                values.append(value)
                continue
            if remaining and not _is_flag(remaining[0]):
                values.append(remaining.pop(0))
            while (
                remaining
                and not _is_flag(remaining[0])
                and (len(line.positionals) >= positionals or _PAIR.match(remaining[0]))
            ):
                if len(line.positionals) < positionals:
                    line.ambiguous.append((flag, remaining[0], len(line.positionals)))
                values.append(remaining.pop(0))
    return line


def _is_flag(word: str) -> bool:
    return word.startswith("--") or word == "-h"


def _is_positional(kind: Any) -> bool:
    return tyro.conf.Positional in getattr(kind, "__metadata__", ())


def _is_list(kind: Any) -> bool:
    """Return whether an option of this type takes several values."""
    return get_origin(kind) is tuple or any(get_origin(part) is tuple for part in get_args(kind))


def _is_required(positional: dataclasses.Field[Any], words: Sequence[str]) -> bool:
    """Return whether the command line must contain this positional."""
    optional_with = positional.metadata.get(OPTIONAL_WITH)
    if optional_with is None:
        return positional.default is dataclasses.MISSING
    flags = {word.partition("=")[0] for word in words}
    return not any(f"--{name}" in flags for name in optional_with)
