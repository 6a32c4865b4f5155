"""Whether a prepared scan fits a device: this machine's, or the GPU that a dry run names."""

from scanner.models.device.device_memory import DeviceMemory, device_memory
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
        estimate = estimate_memory(prepared.scorer, memory.kind)
        return fit(estimate, memory, config.text_encoders, config.denoiser)
    model = load_model(prepared.files, choose_dtype(config.dtype, "cuda"), META)
    scorer = Scorer.from_spec(model, config.scoring_spec)
    estimate, card = estimate_memory(scorer, "cuda"), card_memory(config.gpu)
    return fit(estimate, card, config.text_encoders, config.denoiser)


def why_not_measured(prepared: PreparedScan, fitted: Fit) -> str:
    """Return why the speed cannot be measured on this machine; "" if it can."""
    if not prepared.files.has_weights:
        return "the weights are not on this machine"
    memory, estimate = _own(prepared), fitted.estimate
    if prepared.config.gpu:
        estimate = estimate_memory(prepared.scorer, memory.kind, sizes=(1,))
    if estimate.needed(1) > memory.free:
        return f"the model does not fit the free memory of this machine's {memory.device}"
    return ""


def _own(prepared: PreparedScan) -> DeviceMemory:
    return device_memory(choose_device(prepared.config.device), prepared.memory_share)


def card_memory(name: str) -> DeviceMemory:
    """Return the memory of a card of the table, all of it free."""
    size = find_card(name).memory_gib << 30
    return DeviceMemory(name, size, size, "cuda")
