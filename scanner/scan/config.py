"""The options of a scan."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scanner.captions.records import QuotingOption
from scanner.errors import UsageError
from scanner.scan.options import ActorOptions, ModelOptions

_OR_A_RUN = tyro.conf.arg(help_behavior_hint="(required, or --captions-from)")
_BUT_DRY = tyro.conf.arg(help_behavior_hint="(required, but for --dry-run)")
# The options that change a score: those of the model beside its name and revision, and the others.
MODEL = ("model_config", "lora", "lora_scale")
SCORING = ("profile", "signals", "seeds", "steps", "guidance", "height", "width")
ProfileName = Literal["triage", "standard", "thorough", "trajectory"]


@dataclass(frozen=True)
class ScanConfig(ActorOptions, ModelOptions):
    """Everything that decides a scan; a field's docstring is its help."""

    captions: Annotated[tuple[str, ...], _OR_A_RUN] = ()
    """Files, globs or directories of the training set: parquet, jsonl, csv, tsv, txt with a caption
    per line (.gz and .zst too), WebDataset tar, img2dataset output, Delta tables; local paths or
    URLs such as s3://bucket/path."""
    captions_from: str | None = None
    """Instead of --captions, an earlier run: scan again the captions that it ranks, only those of
    --where (a cascade: triage everything, then score what it flags thoroughly)."""
    where: str = "true"
    """With --captions-from, a SQL predicate on that run's view ranked."""
    out: Annotated[str, _BUT_DRY] = ""
    """The run's directory, a local path or URL. Run again on the same one, a scan goes on where it
    stopped; a finished one returns at once."""
    caption_column: str | None = None
    """The column with the caption; found by its name (caption, text, TEXT, top_caption …)."""
    key_column: str | None = None
    """The column that names a sample; found by its name (key, id, uid, SAMPLE_ID …). Without one,
    or with none, file and row name it."""
    keep: tuple[str, ...] | None = None
    """Columns carried to the samples table, as text; url if there is one; none for no column."""
    image_key: str | None = None
    """The column that tells that two samples are the same image; url or hash if there is
    one; none for no column."""
    quoting: QuotingOption = "auto"
    """Set how quotes in csv and tsv files are read: standard (around fields), none (plain
    characters), or auto, by the data: csv as standard, tsv where a field needs them."""
    reference: tuple[str, ...] = ()
    """Files of captions known not to be in the training set; scored in the same run, marked
    is_reference, never ranked."""
    limit: int | None = None
    """Score only this many distinct captions, those with the smallest caption ids, as a trial: such
    a run cannot be extended, and the whole data set wants another --out."""
    profile: ProfileName = "standard"
    """Which signals are computed, and so what a caption costs: triage a part of one U-Net forward,
    standard one, thorough two for each of four seeds, trajectory a hundred."""
    signals: tuple[str, ...] | None = None
    """These signals instead of a profile's; the cheapest forwards that serve them are run."""
    seeds: int | None = None
    """How many initial noises are averaged; the profile's by default (thorough: 4, others: 1)."""
    batch_size: int | None = None
    """Captions a forward; found by trial and remembered in the run, halved when the device runs
    out of memory. Changes speed, not scores."""
    slice_captions: int | None = None
    """Captions in a slice, the unit of work that is committed whole; by default 4096 on cuda and
    512 on the cpu, and small enough for four slices an actor."""
    extend: bool = False
    """Add input files to a run: files that it has read already are left out, and only captions
    that it does not have are scored. Their caption, key and image columns may have other names."""
    repair: bool = False
    """Read every part of a finished run again, and score anew the slices whose parts are damaged
    or missing (a run that is not finished is checked before it is sealed, in any case)."""
    max_reject_fraction: float = 0.05
    """Exit with status 3 when more than this share of the rows was rejected."""
    dry_run: bool = False
    """Say what would be done, and leave nothing behind (the store is tried with a file that is
    removed again)."""
    single_writer: bool = False
    """Allow a store that cannot create a file only if it is absent; one scan at a time then."""
    json: bool = False
    """Print the result as JSON."""
    config: Path | None = None
    """A TOML file with the same names (caption_column or caption-column); flags win."""

    def check(self) -> None:
        """Raises UsageError for what no default can mend."""
        if not self.captions and not self.captions_from:
            raise UsageError("--captions: name at least one file, glob or directory to scan")
        if self.captions_from and (self.captions or self.reference):
            raise UsageError("--captions-from scans an earlier run's captions; leave out the files")
        for name in ("captions_from", "limit"):
            if self.extend and getattr(self, name):
                flag = name.replace("_", "-")
                raise UsageError(f"--extend adds whole files, by --captions; leave out --{flag}")
        if self.where != "true" and not self.captions_from:
            raise UsageError("--where chooses among the captions of --captions-from; name a run")
        if not self.out and not self.dry_run:
            raise UsageError("--out: name the directory that the run is written to")
        for name in ("limit", "seeds", "batch_size", "slice_captions", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be at least 1")
        kept = [name.lower() for name in self.keep or ()]
        if twice := [name for name in self.keep or () if kept.count(name.lower()) > 1]:
            raise UsageError(
                f"--keep {' '.join(twice)}: a table has no two columns whose names differ only in "
                "case; keep one of them"
            )
        self.check_actors()
