"""The options of a scan."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from scanner.captions.records import QuotingOption
from scanner.cluster.connection.options import ActorOptions
from scanner.errors import UsageError
from scanner.models.device.device_option import check_device
from scanner.models.spec import ModelOptions
from scanner.scan.gpu_estimate import check_estimate
from scanner.scan.plan.tiers import ScanOrder
from scanner.scoring.spec import DenoisingOptions, Placement, ProfileName, ScoringSpec

_OR_A_RUN = tyro.conf.arg(help_behavior_hint="(required, or --captions-from)")
_BUT_DRY = tyro.conf.arg(help_behavior_hint="(required, except for --dry-run)")


@dataclass(frozen=True)
class ScanConfig(ActorOptions, DenoisingOptions, ModelOptions):
    """All options of a scan; a field's docstring is its help text."""

    captions: Annotated[tuple[str, ...], _OR_A_RUN] = ()
    """Files, globs or directories of the training set: parquet, jsonl, csv, tsv, txt with one
    caption per line (.gz and .zst too), WebDataset tar, img2dataset output, Delta tables; local
    paths or URLs such as s3://bucket/path."""
    captions_from: str | None = None
    """An earlier run, instead of --captions: rescan those of its captions that match --where (a
    cascade: triage everything, then run a costlier profile on what it flags)."""
    where: str = "true"
    """With --captions-from, a SQL predicate on that run's view ranked, such as bos_mass < 0.5."""
    out: Annotated[str, _BUT_DRY] = ""
    """The run's directory, a local path or URL. Rerun the same command to resume; a finished run
    returns at once."""
    caption_column: tuple[str, ...] | None = None
    """Column with the caption; by default recognized by name (caption, text, TEXT, top_caption …).
    Name several (alt text and recaptions) to scan all captions of each image: each caption of a row
    is then a sample, with its column in caption_column."""
    key_column: str | None = None
    """Column that identifies a sample; by default recognized by name (key, id, uid, SAMPLE_ID …).
    If there is no such column, or this is set to none, samples are identified by file and row."""
    keep: tuple[str, ...] | None = None
    """Columns copied to the samples table, as text; by default url if there is one; none for no
    column."""
    image_key: str | None = None
    """Column that identifies the image (samples with equal values share one image); by default url
    or hash if there is one; none for no column."""
    quoting: QuotingOption = "auto"
    """How quotes in csv and tsv files are read: standard (they enclose fields), none (as plain
    characters), or auto (csv as standard; tsv as standard if a field needs it, else none)."""
    reference: tuple[str, ...] = ()
    """Files of captions known not to be in the training set; scored in the same run, marked
    is_reference, never ranked."""
    limit: int | None = None
    """Trial run: score at most this many distinct captions, those with the smallest caption ids.
    Such a run cannot be extended; scan the whole data set into another --out."""
    order: ScanOrder = "yield"
    """Which captions are scanned first. yield: those that are most likely memorized, so that a scan
    that is stopped early has found most: those of --reference, then captions by number of samples
    (100 or more, 10, 4, 2, 1), or of samples that share one of their images if these are more and
    there is an image key, or with --captions-from by the earlier run's ranking (its top 1/64, 1/16,
    1/4, and the rest). id: in order of caption ids, which are hashes, so that the captions
    scored at any time are a random sample. Changes no score; a run keeps its first order."""
    profile: ProfileName = "standard"
    """Which signals to compute. triage: attention of the early layers at step 0, part of a forward.
    standard: those, and noise_norm_low from one whole forward at the low-noise step. late:
    attention of all layers and noise_norm_low, both from that one forward. late-half: the same at
    half the latent side, a quarter of the cost. thorough: both noise norms, anisotropy and
    attention of all layers, two forwards for each of four seeds. trajectory: those, and the signals
    of a whole denoising, a hundred forwards. all: every signal, two seeds, over twice the
    cost of trajectory."""
    signals: tuple[str, ...] | None = None
    """Signals to compute instead of a profile's, for example bos_mass noise_norm@low. NAME@low and
    NAME@T compute a signal of one forward at the low-noise step or at timestep T, in the columns
    NAME_low and NAME_T. Runs only the forwards that they need."""
    seeds: int | None = None
    """Number of initial noises to average over; the profile's by default (thorough: 4, all: 2,
    others: 1)."""
    batch_size: int | None = None
    """Captions per forward; by default tuned automatically and stored in the run. Halved when the
    device runs out of memory. Changes speed, not scores."""
    text_encoders: Placement = "auto"
    """Where text encoders are kept on cuda: device; offload (in host memory; their layers are
    copied to the device one by one while captions are encoded, many at a time, which is slower); or
    auto: on the device, if one caption then fits into its free memory. Changes no score."""
    denoiser: Placement = "auto"
    """Where a transformer that denoises is kept on cuda: device; offload (in host memory; its
    blocks are copied to the device and back in every forward of a batch, and nothing is compiled,
    which is slower); or auto: on the device, unless not one caption fits into all of its memory
    beside it. Changes no score. U-Nets, and signals of derivatives, need the device."""
    slice_captions: int | None = None
    """Captions per slice, the unit that is scored and committed together; by default 4096 on cuda
    and 512 on the cpu, or fewer, so that each actor gets about four slices."""
    extend: bool = False
    """Add input files to a run: skips files that it has already read, and scores only captions that
    it does not have yet. New files may name their caption, key and image columns differently."""
    repair: bool = False
    """Read every part of a run again, and rescore the slices whose parts are damaged or missing
    (without it, a run is checked by file size and the store's checksums before it is sealed, its
    list of files being final)."""
    max_reject_fraction: float = 0.05
    """Exit with status 3 if more than this share of the rows was rejected."""
    accept_rejects: bool = False
    """Exit with status 0 despite rejected rows and captions and unreadable files, if rerunning the
    command cannot change them; they are still reported. If slices are quarantined, or not scanned
    because of --budget-hours, the exit status is still 3; rerun to score them."""
    dry_run: bool = False
    """Show what the scan would do and how long it would take. Leaves nothing behind; tests the
    store by writing a file and deleting it."""
    gpu: str | None = None
    """With --dry-run, also say whether the model fits this card, in what batches, and estimate
    GPU-hours: t4, v100, rtx3090, rtx4090, rtx5090, a10, l4, l40s, a100-40, a100 (80 GB), h100,
    h100-pcie, h100-nvl, h200 or b200; also as the driver names it. Its speed is assumed from
    published rates, unless --captions-per-second is set."""
    price: float | None = None
    """With --gpu, the price of a GPU-hour in any currency, such as 1.2: also estimate the cost."""
    captions_per_second: float | None = None
    """With --gpu, the measured speed of one such card for this profile and model, as memscan bench
    --acceptance prints it; replaces the assumption."""
    budget_hours: float | None = None
    """Stop when the actors of this run have held GPUs for this many GPU-hours (on the cpu,
    actor-hours), including earlier commands and the time to load the model. Rerun with a larger
    budget, or without one, to resume; slices that were running start again. Until then, commands
    use what is scored; memscan status --yield estimates how much is left to find."""
    single_writer: bool = False
    """Allow a store without create-if-absent (conditional writes); then run only one scan at a
    time."""
    json: bool = False
    """Print the result as JSON."""
    config: Path | None = None
    """TOML file that sets these options by name (caption_column or caption-column); command-line
    options take precedence."""

    @property
    def scoring_spec(self) -> ScoringSpec:
        denoising = super().scoring_spec
        return replace(denoising, profile=self.profile, signals=self.signals, seeds=self.seeds)

    def check(self) -> None:
        """Raise UsageError for options that are missing, out of range or contradict each other."""
        if not self.captions and not self.captions_from:
            raise UsageError("--captions: name at least one file, glob or directory to scan")
        if self.captions_from and (self.captions or self.reference):
            raise UsageError("--captions-from scans an earlier run's captions; leave out the files")
        for flag, value in (("--captions-from", self.captions_from), ("--limit", self.limit)):
            if self.extend and value:
                raise UsageError(f"--extend adds whole files, by --captions; leave out {flag}")
        if self.where != "true" and not self.captions_from:
            raise UsageError("--where selects captions of --captions-from; name a run")
        check_device(self.device)
        check_estimate(self.gpu, self.price, self.captions_per_second, self.dry_run)
        if not self.out and not self.dry_run:
            raise UsageError("--out: name the directory that the run is written to")
        for flag, number in (
            ("--limit", self.limit),
            ("--seeds", self.seeds),
            ("--batch-size", self.batch_size),
            ("--slice-captions", self.slice_captions),
            ("--steps", self.steps),
        ):
            if number is not None and number < 1:
                raise UsageError(f"{flag} {number}: must be at least 1")
        if self.budget_hours is not None and not 0 < self.budget_hours < math.inf:
            raise UsageError(f"--budget-hours {self.budget_hours:g}: must be a positive number")
        columns = [name.lower() for name in self.caption_column or ()]
        if len(columns) > len(set(columns)):
            named = " ".join(self.caption_column or ())
            raise UsageError(f"--caption-column {named}: a column is named twice; name it once")
        names = [name.lower() for name in self.keep or ()]
        if duplicates := [name for name in self.keep or () if names.count(name.lower()) > 1]:
            raise UsageError(
                f"--keep {' '.join(duplicates)}: columns of a table cannot differ only in case; "
                "keep one of them"
            )
        self.check_actors()
