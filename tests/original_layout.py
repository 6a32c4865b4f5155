"""A diffusers pipeline's weights in the key layout of original single-file checkpoints."""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def save_as_single_file(pipe: DiffusionPipeline, path: Path) -> Path:
    """U-Net and text encoders in one safetensors file, as the original code bases name them."""
    weights = {f"model.diffusion_model.{k}": v for k, v in _unet(pipe.unet).items()}
    first = {k.removeprefix("text_model."): v for k, v in pipe.text_encoder.state_dict().items()}
    if hasattr(pipe, "text_encoder_2"):
        weights |= {f"conditioner.embedders.0.transformer.text_model.{k}": first[k] for k in first}
        second = {
            k.removeprefix("text_model."): v for k, v in pipe.text_encoder_2.state_dict().items()
        }
        weights |= {f"conditioner.embedders.1.model.{k}": v for k, v in _open_clip(second).items()}
    elif pipe.tokenizer.pad_token == "!":
        weights |= {f"cond_stage_model.model.{k}": v for k, v in _open_clip(first).items()}
    else:
        weights |= {f"cond_stage_model.transformer.text_model.{k}": first[k] for k in first}
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def _unet(unet: torch.nn.Module) -> dict[str, Tensor]:
    depth = unet.config.layers_per_block + 1
    return {_unet_key(name, depth): value for name, value in unet.state_dict().items()}


def _unet_key(name: str, depth: int) -> str:
    for ours, original in TOP.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, original, 1)
    kind, _, rest = name.partition(".")
    if kind == "mid_block":
        part, number, rest = rest.split(".", 2)
        place = f"middle_block.{2 * int(number) if part == 'resnets' else 1}"
    else:
        block, part, number, rest = rest.split(".", 3)
        slot = int(block) * depth + int(number) + (1 if kind == "down_blocks" else 0)
        if part == "downsamplers":
            return f"input_blocks.{slot + depth - 1}.0.op.{rest.removeprefix('conv.')}"
        stage = "input_blocks" if kind == "down_blocks" else "output_blocks"
        if part == "upsamplers":
            return f"output_blocks.{slot + depth - 1}.2.{rest}"
        place = f"{stage}.{slot}.{0 if part == 'resnets' else 1}"
    if part == "resnets":
        module, _, leaf = rest.rpartition(".")
        rest = f"{RESNET[module]}.{leaf}"
    return f"{place}.{rest}"


def _open_clip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in text.items():
        if name == "text_projection.weight":
            found["text_projection"] = value.T
        elif name.startswith("embeddings.position_embedding"):
            found["positional_embedding"] = value
        elif name.startswith("embeddings.token_embedding"):
            found["token_embedding.weight"] = value
        elif name.startswith("final_layer_norm"):
            found[name.replace("final_layer_norm", "ln_final")] = value
        elif ".q_proj." in name:
            others = [text[name.replace("q_proj", part)] for part in ("k_proj", "v_proj")]
            layer, leaf = name.split(".")[2], name.rpartition(".")[2]
            found[f"transformer.resblocks.{layer}.attn.in_proj_{leaf}"] = torch.cat(
                [value, *others]
            )
        elif ".k_proj." not in name and ".v_proj." not in name:
            _, _, layer, rest = name.split(".", 3)
            for ours, original in OPEN_CLIP.items():
                rest = rest.replace(ours, original)
            found[f"transformer.resblocks.{layer}.{rest}"] = value
    return found
