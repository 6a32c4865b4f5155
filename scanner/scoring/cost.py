"""What a caption costs, counted and not guessed."""

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from scanner.scoring.scorer import Scorer


def gflop_per_caption(scorer: Scorer) -> float:
    """GFLOP of the U-Net a caption, all seeds: one conditional forward at step 0 each.

    Counted on the meta device, where fused attention is counted too (on a CPU it counts zero).
    The text encoder and ε_∅, which is shared by all captions, are not in it.
    """
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(scorer.model.unet.config)
        latents = torch.empty((1, *scorer.latent_shape))
        length = scorer.model.tokenizer.model_max_length
        text = torch.empty((1, length, unet.config.cross_attention_dim))
        with FlopCounterMode(display=False) as counter:
            unet(latents, torch.zeros(1), text)
    return scorer.seeds * counter.get_total_flops() / 1e9
