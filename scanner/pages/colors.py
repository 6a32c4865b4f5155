"""Color schemes for light pages, dark pages, print and charts."""

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Colors:
    """Colors by role, in CSS notation.

    ``here``: the subject of the page; ``others``: what it is compared with; ``band``: the range of
    most of those; ``mark``: background of highlighted words; ``low``, ``high``: ends of a diverging
    scale.
    """

    paper: str
    ink: str
    faint: str
    line: str
    here: str
    others: str
    band: str
    mark: str
    low: str
    high: str


PAPER = Colors(
    paper="#ffffff",
    ink="#1b1b1b",
    faint="#5f6368",
    line="#d9dce0",
    here="#c2255c",
    others="#7a8490",
    band="#dfe3e8",
    mark="#ffdeeb",
    low="#1864ab",
    high="#c2255c",
)
DARK = Colors(
    paper="#15171a",
    ink="#e8eaed",
    faint="#a2a9b1",
    line="#3a3f45",
    here="#ff6b9d",
    others="#949ca6",
    band="#33383f",
    mark="#5c1f3a",
    low="#4dabf7",
    high="#ff6b9d",
)
# Charts in a page use its CSS variables, so light, dark and print share one drawing.
THEMED = Colors(**{field.name: f"var(--{field.name})" for field in fields(Colors)})


def variables(colors: Colors) -> str:
    """Return the colors as CSS custom properties."""
    return " ".join(f"--{name}: {value};" for name, value in asdict(colors).items())
