"""Which files are read, and which of their columns."""

from dataclasses import dataclass

from scanner.captions.columns import Columns, resolve
from scanner.captions.formats import ENDINGS, column_names
from scanner.errors import UserError
from scanner.scan.config import ScanConfig
from scanner.storage import expand


@dataclass(frozen=True)
class Input:
    """One file to read, with the columns chosen in it, or why there are none."""

    url: str
    is_reference: bool
    columns: Columns | None
    problem: str = ""


def choose_inputs(config: ScanConfig) -> list[Input]:
    """The input files and their columns.

    Raises UserError where nothing matches, or where a caption column is missing or in doubt in
    the first file that can be read; a file that cannot be read, or lacks it, is kept as rejected.
    """
    inputs: list[Input] = []
    if config.captions_from:
        return inputs
    for is_reference, urls in ((False, config.captions), (True, config.reference)):
        first = True
        for url in expand(urls, ENDINGS):
            try:
                names = column_names(url)
            except UserError as error:
                inputs.append(Input(url, is_reference, None, str(error).removeprefix(f"{url}: ")))
                continue
            try:
                inputs.append(Input(url, is_reference, _columns(config, names, url, is_reference)))
            except UserError as error:
                if first:
                    raise
                inputs.append(Input(url, is_reference, None, str(error).removeprefix(f"{url}: ")))
            first = False
    if not any(item.columns and not item.is_reference for item in inputs):
        problems = "; ".join(f"{item.url}: {item.problem}" for item in inputs[:3])
        raise UserError(f"no input file can be read: {problems}")
    return inputs


def _columns(config: ScanConfig, names: list[str], url: str, is_reference: bool) -> Columns:
    if not is_reference:
        return resolve(
            names, url, config.caption_column, config.key_column, config.image_key, config.keep
        )
    # Reference files need not have the training set's columns, only captions.
    there = {name.lower() for name in names}

    def named(name: str | None) -> str | None:
        return name if name and name.lower() in there else None

    keep = None if config.keep is None else tuple(filter(named, config.keep))
    return resolve(
        names,
        url,
        named(config.caption_column),
        named(config.key_column),
        named(config.image_key),
        keep,
    )
