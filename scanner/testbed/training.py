"""Train the testbed model from scratch with fixed steps and seed (2 CPU cores).

First the VAE on the images. Then U-Net and text encoder together, at first with captions of
shuffled words (the text is uninformative, so BOS stays the attention sink), then on the data set,
in which the group ``repeated`` stands for wrong captions in web data. ``to_q`` and ``to_k`` of the
cross-attentions have a tenth of the learning rate, to preserve the sink. A frozen text encoder is
trained before the U-Net, to match each distinct caption with its image.

Each part is saved every few hundred steps in a folder of checkpoints and goes on from there.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, normalize

from scanner.testbed.checkpoint import Checkpoint
from scanner.testbed.networks import start_sink
from scanner.testbed.recipe import TestbedRecipe, TransformerRecipe
from scanner.testbed.training_loop import batch_of, file_of, follow, report, steps_of

TEMPERATURE = 0.07


def train(
    pipe: StableDiffusionPipeline,
    images_NCHW: Tensor,
    captions: list[str],
    rows: Tensor,
    recipe: TestbedRecipe,
    checkpoints: Path | None = None,
    new_vae: bool = True,
) -> None:
    """Train in place. ``images_NCHW``: distinct, in [-1, 1]; ``rows`` (R,): image per caption;
    ``new_vae``: False if the pipeline's VAE is trained already."""
    if new_vae:
        train_vae(pipe.vae, images_NCHW, recipe, checkpoints)
    if recipe.text_encoder == "frozen":
        ids, latents = token_ids(pipe.tokenizer, captions), encode(pipe.vae, images_NCHW)
        train_text(_Pooled(pipe.text_encoder), ids, latents, captions, rows, recipe, checkpoints)
    train_diffusion(pipe, images_NCHW, captions, rows, recipe, checkpoints)


@torch.no_grad()
def encode(vae: AutoencoderKL, images_NCHW: Tensor) -> Tensor:
    """Return the mean latents of images in [-1, 1], without scaling."""
    return torch.cat([vae.encode(part).latent_dist.mean for part in images_NCHW.split(256)])


def train_vae(
    vae: AutoencoderKL,
    images_NCHW: Tensor,
    recipe: TestbedRecipe,
    checkpoints: Path | None = None,
) -> None:
    """Train the VAE and set its scaling factor."""
    torch.manual_seed(recipe.seed)
    vae.train()
    average = copy.deepcopy(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), recipe.vae_rate, weight_decay=0.0)
    both = torch.nn.ModuleDict({"vae": vae, "average": average})
    state = Checkpoint(file_of(checkpoints, "vae"), both, optimizer)
    for step in steps_of("vae", recipe.vae_steps, state, recipe.vae_rate):
        batch = images_NCHW[torch.randint(len(images_NCHW), (recipe.vae_batch,))]
        batch = batch.flip(-1) if step % 2 else batch
        batch = batch[:, torch.randperm(3)] if step % 4 == 3 else batch
        posterior = vae.encode(batch).latent_dist
        loss = mse_loss(vae.decode(posterior.sample()).sample, batch) + 1e-6 * posterior.kl().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        follow(average, vae, recipe.ema)
        report(step, "vae rmse in [0, 1]", (loss.item() ** 0.5) / 2)
    vae.load_state_dict(average.state_dict())
    vae.eval()
    vae.register_to_config(scaling_factor=float(1 / encode(vae, images_NCHW).std()))


def train_text(
    tower: torch.nn.Module,
    ids: Tensor,
    latents: Tensor,
    captions: list[str],
    rows: Tensor,
    recipe: TestbedRecipe | TransformerRecipe,
    checkpoints: Path | None = None,
) -> None:
    """Train a text encoder to match captions with images (CLIP's loss), then freeze it.

    Every distinct caption counts once, however often it is repeated, with its first image: the
    encoder does not know which captions the diffusion model will see often.

    ``tower``: from token ids (B, L) to one vector per caption (B, C); ``ids``: of each caption;
    ``latents``: of each image.
    """
    torch.manual_seed(recipe.seed + 2)
    text = tower.train()
    first = list({caption: row for row, caption in reversed(list(enumerate(captions)))}.values())
    ids, latents = ids[first], latents[rows[first]]
    latents = (latents / latents.std()).flatten(1)
    with torch.no_grad():
        width = text(ids[:1]).shape[1]
    image = torch.nn.Sequential(
        torch.nn.Linear(latents.shape[1], 2 * width),
        torch.nn.GELU(),
        torch.nn.Linear(2 * width, width),
    )
    both = torch.nn.ModuleDict({"text": text, "image": image})
    optimizer = torch.optim.AdamW(both.parameters(), recipe.rate, weight_decay=0.01)
    state = Checkpoint(file_of(checkpoints, "text"), both, optimizer)
    for step in steps_of("text encoder", recipe.contrastive_steps, state, recipe.rate):
        chosen = torch.randint(len(ids), (recipe.contrastive_batch,)).unique()
        seen = latents[chosen] + 0.3 * torch.randn(len(chosen), latents.shape[1])
        words = normalize(text(ids[chosen]), dim=-1)
        logits = words @ normalize(image(seen), dim=-1).T / TEMPERATURE
        own = torch.arange(len(chosen))
        loss = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        report(step, "share of captions matched", (logits.argmax(1) == own).float().mean().item())
    text.eval().requires_grad_(False)


def train_diffusion(
    pipe: StableDiffusionPipeline,
    images_NCHW: Tensor,
    captions: list[str],
    rows: Tensor,
    recipe: TestbedRecipe,
    checkpoints: Path | None = None,
) -> None:
    """Train the U-Net, and the text encoder unless it is frozen, on the VAE's latents."""
    torch.manual_seed(recipe.seed + 1)
    unet, text = pipe.unet, pipe.text_encoder
    latents = encode(pipe.vae, images_NCHW) * pipe.vae.config.scaling_factor
    ids, empty = token_ids(pipe.tokenizer, captions), token_ids(pipe.tokenizer, [""])
    with torch.no_grad():
        start_sink(unet, text(ids[:256]).last_hidden_state)
    trained = torch.nn.ModuleDict({"unet": unet})
    if recipe.text_encoder == "joint":
        trained["text"] = text
    average = copy.deepcopy(trained.train())
    optimizer = torch.optim.AdamW(_rates(unet, text, recipe), recipe.rate, weight_decay=0.01)
    alphas = pipe.scheduler.alphas_cumprod
    steps = recipe.salad_steps + recipe.epochs * (len(rows) // recipe.batch)
    both = torch.nn.ModuleDict({"trained": trained, "average": average})
    state = Checkpoint(file_of(checkpoints, "diffusion"), both, optimizer)
    for step in steps_of(f"U-Net, {recipe.text_encoder} text encoder", steps, state, recipe.rate):
        chosen = (
            batch_of(step - recipe.salad_steps, len(rows), recipe)
            if step >= recipe.salad_steps
            else torch.randint(len(rows), (recipe.batch,))
        )
        x0, token = latents[rows[chosen]], ids[chosen].clone()
        if step < recipe.salad_steps:
            token = _salad(token, ids, pipe.tokenizer.eos_token_id)
        token[torch.rand(len(token)) < recipe.caption_dropout] = empty[0]
        times = torch.randint(len(alphas), (len(x0),))
        alpha = alphas[times].view(-1, 1, 1, 1)
        noise = torch.randn_like(x0)
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * x0
        pred = unet(noisy, times, text(token).last_hidden_state).sample
        loss = mse_loss(pred, noise if recipe.prediction == "epsilon" else velocity)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        follow(average, trained, min(recipe.ema, (1 + step) / (10 + step)))
        report(step, "diffusion loss", loss.item())
    trained.load_state_dict(average.state_dict())
    trained.eval()


class _Pooled(torch.nn.Module):
    """A text encoder that returns only its pooled output (B, C)."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids_BL: Tensor) -> Tensor:
        pooled: Tensor = self.encoder(ids_BL).pooler_output
        return pooled


def token_ids(tokenizer: Any, captions: list[str]) -> Tensor:
    """Return padded token ids (B, L)."""
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = tokens.input_ids
    return ids


def _rates(
    unet: UNet2DConditionModel, text: torch.nn.Module, recipe: TestbedRecipe
) -> list[dict[str, Any]]:
    """Return parameter groups with learning rate factors; weights of the sink learn slowly."""
    sink: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in unet.named_parameters():
        slow = any(part in name for part in ("attn2.to_q", "attn2.to_k", "norm2.bias"))
        (sink if slow and "transformer_blocks" in name else rest).append(weight)
    groups = [
        {"params": rest, "factor": 1.0},
        {"params": sink, "factor": recipe.sink_rate_factor},
    ]
    if recipe.text_encoder == "joint":
        groups.append({"params": list(text.parameters()), "factor": recipe.text_rate_factor})
    return groups


def _salad(token: Tensor, ids: Tensor, end: int) -> Tensor:
    """Replace every word token by a random one from all captions; keep BOS, EOS and padding."""
    words = ids[(ids != end) & (ids != ids[0, 0])]
    drawn = words[torch.randint(len(words), token.shape)]
    keep = (token == end) | (torch.arange(token.shape[1]) == 0)
    return torch.where(keep, token, drawn)
