"""A model's copy on the meta device, to count what its forwards cost without running them."""

import copy

from scanner.models.diffusion_model import DiffusionModel
from scanner.models.parts import build_on_meta


def on_meta(model: DiffusionModel) -> DiffusionModel:
    """Return a model of the same configuration and dtypes on the meta device.

    Its tensors have shapes but no data. Returns a model that is there already as it is.
    """
    if model.device.type == "meta":
        return model
    twin = copy.copy(model)
    for name, part in model.components.items():
        built = build_on_meta(type(part), part.config, part.dtype).requires_grad_(False)
        setattr(twin, name, built)
        if part is model.denoiser:
            twin.denoiser = built
            for layer in model.layers:  # a family can need another processor than the stock one
                processor = part.get_submodule(layer).processor
                built.get_submodule(layer).set_processor(processor)
    return twin
