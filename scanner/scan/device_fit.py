"""Whether a prepared scan fits a device: this machine's, or the GPU that a dry run names."""

from scanner.models.device_memory import DeviceMemory, device_memory
from scanner.models.loading import META, choose_device, choose_dtype, load_model
from scanner.scan.gpu_estimate import find_card
from scanner.scan.preparation import PreparedScan
from scanner.scoring import Scorer
from scanner.scoring.fit import Fit, fit
from scanner.scoring.memory import estimate_memory


def fit_here(prepared: PreparedScan) -> Fit:
    """Return how scoring fits the GPU of ``--gpu``, in the precision that it would have there, else
    an actor's share of this machine's device."""
    config = prepared.config
    if not config.gpu:
        memory = _own(prepared)
        return fit(estimate_memory(prepared.scorer, memory.kind), memory, config.text_encoders)
    model = load_model(prepared.files, choose_dtype(config.dtype, "cuda"), META)
    scorer = Scorer.from_spec(model, config.scoring_spec)
    return fit(estimate_memory(scorer, "cuda"), _card(config.gpu), config.text_encoders)


def why_not_measured(prepared: PreparedScan, fitted: Fit) -> str:
    """Return why the speed cannot be measured on this machine; "" if it can."""
    if not prepared.files.has_weights:
        return "the weights are not on this machine"
    here = fitted
    if prepared.config.gpu:
        estimate = estimate_memory(prepared.scorer, choose_device(prepared.config.device))
        here = fit(estimate, _own(prepared), "device")
    if not here.estimate.largest_batch(here.memory.free):
        return f"the model does not fit the free memory of this machine's {here.memory.device}"
    return ""


def _own(prepared: PreparedScan) -> DeviceMemory:
    return device_memory(choose_device(prepared.config.device), prepared.memory_share)


def _card(name: str) -> DeviceMemory:
    size = find_card(name).memory_gib << 30
    return DeviceMemory(name, size, size, "cuda")
