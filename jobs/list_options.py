"""The order of a command line's words: a list option never swallows what is not its own.

The parser gives a list option, such as ``--captions``, every word up to the next flag, and keeps
only the last of two such options. In the order of :func:`in_order` neither matters: positionals,
other options, then each list option once with all of its values.

In a command without positionals every word that follows a list option is a value of it. In a
command with positionals the first one is; further ones are if they read ``name=value`` and no
positional is missing without them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

import tyro

# In a field's metadata: a positional with a default may be left out only beside these options.
OMITTED_BESIDE = "omitted beside"
_PAIR = re.compile(r"[A-Za-z_]\w*=", re.ASCII)


@dataclass
class _Sorted:
    """The words of a command line by what they are.

    ``lists``: the values by flag. ``doubtful``: values that could be positionals, each with its
    flag and how many positionals stand before it.
    """

    positionals: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)
    doubtful: list[tuple[str, str, int]] = field(default_factory=list)


def in_order(fields: Mapping[str, dataclasses.Field[Any]], words: Sequence[str]) -> list[str]:
    """Return the words of a command line, whose options are ``fields``, in an order that the
    parser reads as they are meant."""
    positionals = [one for one in fields.values() if _is_positional(one.type)]
    kinds = {f"--{name.rstrip('_').replace('_', '-')}": one.type for name, one in fields.items()}
    found = _sort(kinds, bool(positionals), list(words))
    needed = sum(_is_needed(one, words) for one in positionals)
    lacking = max(0, needed - len(found.positionals))
    for flag, value, place in reversed(found.doubtful[len(found.doubtful) - lacking :]):
        found.lists[flag].reverse()
        found.lists[flag].remove(value)
        found.lists[flag].reverse()
        found.positionals.insert(place, value)
    listed = [word for flag, values in found.lists.items() for word in (flag, *values)]
    return [*found.positionals, *found.others, *listed]


def _sort(kinds: Mapping[str, Any], has_positionals: bool, left: list[str]) -> _Sorted:
    """``kinds``: the type of each option's value, by flag."""
    found = _Sorted()
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        flag = name.replace("_", "-")
        if not _is_flag(word):
            found.positionals.append(word)
        elif not _is_list(kinds.get(flag)):
            takes_one = kinds.get(flag, bool) is not bool and not equals
            found.others += [word, *(left.pop(0) for _ in left[:takes_one])]
        else:
            values = found.lists.setdefault(flag, [])
            if equals:
                values.append(value)
                continue
            if left and not _is_flag(left[0]):
                values.append(left.pop(0))
            while left and not _is_flag(left[0]) and (not has_positionals or _PAIR.match(left[0])):
                if has_positionals:
                    found.doubtful.append((flag, left[0], len(found.positionals)))
                values.append(left.pop(0))
    return found


def _is_flag(word: str) -> bool:
    return word.startswith("--") or word == "-h"


def _is_positional(kind: Any) -> bool:
    return tyro.conf.Positional in getattr(kind, "__metadata__", ())


def _is_list(kind: Any) -> bool:
    """Whether an option of this type takes several values."""
    return get_origin(kind) is tuple or any(get_origin(one) is tuple for one in get_args(kind))


def _is_needed(positional: dataclasses.Field[Any], words: Sequence[str]) -> bool:
    """Whether the command line must hold this positional."""
    beside = positional.metadata.get(OMITTED_BESIDE)
    if beside is None:
        return positional.default is dataclasses.MISSING
    flags = {word.partition("=")[0] for word in words}
    return not any(f"--{name}" in flags for name in beside)
