"""The reference of the Python names that ``scanner`` exports, written from their docstrings."""

import inspect
import re
from collections.abc import Iterator
from types import FunctionType
from typing import Any, get_type_hints

import scanner

_OPENING = """# Python

The names that `scanner` exports, and the classes that its functions return. Each is imported on
first use. `scanner.__version__` is the installed version.
"""
_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data):`~?([\w.]+)`")
_LONGEST = 88


def python_page() -> str:
    """Return the page."""
    public = {name: getattr(scanner, name) for name in scanner.__all__ if name != "__version__"}
    returned = [kind for each in public.values() if (kind := _returned(each))]
    sections = [_section(name, each) for name, each in public.items()]
    sections += [
        _section(kind.__name__, kind)
        for kind in dict.fromkeys(returned)
        if kind not in public.values()
    ]
    return "\n".join([_OPENING, *sections])


def _returned(function: Any) -> type[Any] | None:
    """Return the class of this package that a function returns, if it does."""
    if not isinstance(function, FunctionType):
        return None
    kind = get_type_hints(function).get("return")
    return kind if isinstance(kind, type) and kind.__module__.startswith("scanner.") else None


def _section(name: str, public: Any) -> str:
    """Return the section of a function, or of a class with its public methods."""
    module = public.__module__
    exported = name in scanner.__all__
    imported = f"from scanner import {name}" if exported else f"# {module}"
    blocks = [f"## `{name}`", f"```python\n{imported}\n\n{_signature(name, public)}\n```"]
    blocks.append(as_markdown(inspect.getdoc(public) or ""))
    if isinstance(public, type):
        for method, signature, text in _methods(public):
            heading = f"### `{name}.{method}`"
            blocks += [heading, f"```python\n{signature}\n```", as_markdown(text)]
    return "\n\n".join([*blocks, ""])


def _methods(kind: type[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the name, signature and docstring of each documented public method and property."""
    for name, value in vars(kind).items():
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(value, property):
            text = inspect.getdoc(value)
            returns = inspect.signature(value.fget).return_annotation if value.fget else ""
            signature = f"{name}: {_plain(inspect.formatannotation(returns))}"
        elif inspect.isfunction(value) or isinstance(value, classmethod):
            text = inspect.getdoc(getattr(kind, name))
            signature = _signature(name, getattr(kind, name), without_self=True)
        else:
            continue
        if text:
            yield name, signature, text


def _signature(name: str, public: Any, without_self: bool = False) -> str:
    """Return a signature, one parameter per line if it is long."""
    signature = inspect.signature(public)
    parameters = list(signature.parameters.values())
    if without_self and parameters and parameters[0].name == "self":
        signature = signature.replace(parameters=parameters[1:])
    line = _plain(f"{name}{signature}")
    if len(line) <= _LONGEST:
        return line
    own = [f"    {_plain(str(parameter))}," for parameter in signature.parameters.values()]
    returns = signature.return_annotation
    arrow = "" if returns in (inspect.Signature.empty, None) else f" -> {_formatted(returns)}"
    return "\n".join([f"{name}(", *own, f"){arrow}"])


def _formatted(annotation: Any) -> str:
    return _plain(inspect.formatannotation(annotation))


def _plain(signature: str) -> str:
    """Drop the modules in front of classes' names."""
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])", "", signature)


def as_markdown(docstring: str) -> str:
    """Return a docstring as Markdown: roles and literals as code, examples as fenced code."""
    text = _ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", docstring)
    text = text.replace("``", "`")
    blocks = re.split(r"\n\s*\n", text)
    return "\n\n".join(
        _block(block, blocks[number - 1] if number else "") for number, block in enumerate(blocks)
    )


def _block(block: str, before: str) -> str:
    """Return one paragraph, doctest or literal block, of which the line before ends in ``::``."""
    if block.startswith(">>> "):
        return f"```pycon\n{block}\n```"
    if before.endswith("::") and block.startswith(" "):
        return f"```python\n{inspect.cleandoc(block)}\n```"
    return block.removesuffix(":") if block.endswith("::") else block
