"""The encoder of `mini`: residues and their neighbours from tables, then convolutions or attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from embedstore.models.mini_tokens import N_STANDARD, N_TOKENS, PAD_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniConfig:
    """The shape of a `mini` encoder, as its ``config.json`` has it.

    Attributes
    ----------
    hidden_size
        Length of a residue's vector in front of the last projection.
    wide_size
        Length of a residue's learned state in front of the last projection.
    output_size
        Length of a residue's vector as it is given out.
    blocks
        A letter a block: ``c`` convolution, ``a`` attention with rotary positions.
    convolution_size
        Number of channels that the convolutions mix.
    kernel_size
        Width of the convolutions in residues, odd.
    dilations
        Of the convolutions, in turns.
    expansion
        Width of the inner layer of an attention block, in ``hidden_size``.
    n_heads
        Attention heads.
    neighbours
        Offsets of the residues that are looked up together with each residue, one table for each pair of offsets.
    gaps
        Distances of the residue pairs that are looked up for the spectrum: fixed vectors of ``pair_size`` numbers, so
        that their mean over a protein holds its counts of pairs, as the model `kmer` has them.
    pair_size
        Length of these; 0: no pairs.
    n_profile_waves
        Cosine waves of each of the twenty residues along the chain, a part of the spectrum too.
    n_waves
        Cosine waves along the chain that weigh each number of a residue's wide state: so a mean over residues keeps
        where on the chain they stand.
    """

    hidden_size: int = 128
    wide_size: int = 512
    output_size: int = 512
    blocks: str = "ccccccc"
    convolution_size: int = 64
    kernel_size: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    expansion: int = 2
    n_heads: int = 4
    neighbours: tuple[tuple[int, int], ...] = ((-1, 1),)
    n_waves: int = 8
    gaps: tuple[int, ...] = (1, 2, 3, 4)
    pair_size: int = 0
    n_profile_waves: int = 0

    @property
    def spectrum_size(self) -> int:
        """Numbers of a residue that are not learned."""
        return self.pair_size + N_STANDARD * self.n_profile_waves

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> MiniConfig:
        """Read from ``config.json``, whose other keys are left alone."""
        known = {field.name: config[field.name] for field in fields(cls) if field.name in config}
        if "neighbours" in known:
            known["neighbours"] = tuple(tuple(pair) for pair in known["neighbours"])
        for name in ("dilations", "gaps"):
            if name in known:
                known[name] = tuple(known[name])
        return cls(**known)


class ConvolutionBlock(nn.Module):
    """A dilated convolution between two narrow layers on each residue (ByteNet, as in CARP: Yang et al. 2024).

    The convolution is one matrix product over the residues beside each other.
    """

    def __init__(self, config: MiniConfig, dilation: int) -> None:
        super().__init__()
        dim, inner = config.hidden_size, config.convolution_size
        self.dilation = dilation
        self.kernel_size = config.kernel_size
        self.norm = nn.LayerNorm(dim)
        self.down = nn.Linear(dim, inner)
        self.norm_along = nn.LayerNorm(inner)
        self.along = nn.Linear(config.kernel_size * inner, inner)
        self.up = nn.Linear(inner, dim)

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(n, T, hidden_size) to the same; ``mask`` (n, T, 1) is 0 at padding, None where there is none."""
        narrow = functional.gelu(self.norm_along(self.down(functional.gelu(self.norm(states)))))
        if mask is not None:
            narrow = narrow * mask
        length, reach = narrow.shape[1], self.dilation * (self.kernel_size // 2)
        padded = functional.pad(narrow, (0, 0, reach, reach))
        starts = range(0, 2 * reach + 1, self.dilation)
        beside = torch.cat([padded[:, start : start + length] for start in starts], dim=2)
        return cast(torch.Tensor, states + self.up(functional.gelu(self.along(beside))))


class AttentionBlock(nn.Module):
    """Self-attention with rotary positions, then two layers on each residue."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.n_heads = config.n_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_up = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, config.expansion * dim)
        self.down = nn.Linear(config.expansion * dim, dim)

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(n, T, hidden_size) to the same; nothing attends to padding."""
        n, length, dim = states.shape
        turns = _turns(length, dim // self.n_heads, states)
        qkv = self.qkv(self.norm(states)).view(n, length, 3, self.n_heads, dim // self.n_heads).permute(2, 0, 3, 1, 4)
        query, key = _rotate(qkv[0], turns), _rotate(qkv[1], turns)
        attended = None if mask is None else mask.transpose(1, 2)[:, None].bool()
        mixed = functional.scaled_dot_product_attention(query, key, qkv[2], attn_mask=attended)
        states = states + self.out(mixed.transpose(1, 2).reshape(n, length, dim))
        return cast(torch.Tensor, states + self.down(functional.gelu(self.up(self.norm_up(states)))))


def _rotate(states: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864): (n, heads, T, size) turned by (2, T, size / 2)."""
    first, second = states.chunk(2, dim=-1)
    cos, sin = turns[0], turns[1]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


def _turns(length: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """Cosines and sines of the positions, (2, T, size / 2)."""
    rates = 10_000.0 ** -(torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size)
    angles = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] * rates
    return torch.stack((angles.cos(), angles.sin())).to(like.dtype)


class MiniEncoder(nn.Module):
    """Tokens (n, T) and their mask to residue vectors (n, T, output_size).

    Nothing of a protein depends on what it is batched with: padding is zero before each convolution, and no attention
    goes to it.
    """

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_size
        self.residue = nn.Embedding(N_TOKENS, dim)
        self.triplets = nn.ModuleList(nn.Embedding(N_TOKENS**3, dim) for _ in config.neighbours)
        n_convolutions = 0
        self.blocks = nn.ModuleList()
        for kind in config.blocks:
            if kind == "c":
                dilation = config.dilations[n_convolutions % len(config.dilations)]
                self.blocks.append(ConvolutionBlock(config, dilation))
                n_convolutions += 1
            else:
                self.blocks.append(AttentionBlock(config))
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, config.wide_size)
        self.place = nn.Linear(config.n_waves, config.wide_size, bias=False)
        self.letters = nn.Linear(config.wide_size, N_TOKENS)
        if config.pair_size:
            self.pairs = nn.ModuleList(nn.Embedding(N_TOKENS**2, config.pair_size) for _ in config.gaps)
        if config.n_profile_waves:
            self.profile = nn.Embedding(N_TOKENS, N_STANDARD)
        self.project = nn.Linear(config.wide_size + config.spectrum_size, config.output_size)
        self.apply(_initialise)
        nn.init.zeros_(self.place.weight)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """What :meth:`each_layer` gives, all of it."""
        return list(self.each_layer(tokens, mask))

    def each_layer(self, tokens: torch.Tensor, mask: torch.Tensor) -> Iterator[torch.Tensor]:
        """States before the first block and after each, (n, T, hidden_size); last the wide ones, (n, T, wide_size)."""
        states = self.residue(tokens)
        for (left, right), table in zip(self.config.neighbours, self.triplets, strict=True):
            numbers = (_shifted(tokens, left) * N_TOKENS + tokens) * N_TOKENS + _shifted(tokens, right)
            states = states + table(numbers)
        here = None if bool(mask.all()) else mask[:, :, None].to(states.dtype)
        yield states
        for block in self.blocks:
            states = block(states, here)
            yield states
        waves = _waves(mask, self.config.n_waves).to(states.dtype)
        yield functional.gelu(self.widen(self.norm(states))) * (1 + self.place(waves))

    def spectrum(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What is not learned of each residue, (n, T, spectrum_size): pairs, then the profile."""
        parts = [torch.zeros(*tokens.shape, 0, dtype=self.project.weight.dtype, device=tokens.device)]
        if self.config.pair_size:
            parts.append(sum((table(numbers) for table, numbers in self._pairs(tokens)), torch.zeros(())))
        if self.config.n_profile_waves:
            kinds, waves = self.profile(tokens), _waves(mask, self.config.n_profile_waves)
            parts.append((kinds[..., None, :] * waves[..., None].to(kinds.dtype)).flatten(2))
        return torch.cat(parts, dim=2)

    def mean_spectrum(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean of :meth:`spectrum` over the residues of each protein, (n, spectrum_size).

        Pairs are counted, so that tables are read once a kind of pair and not once a residue.
        """
        here = mask.to(self.project.weight.dtype)
        parts = [here.new_zeros(len(tokens), 0)]
        if self.config.pair_size:
            sums = here.new_zeros(len(tokens), self.config.pair_size)
            for table, numbers in self._pairs(tokens):
                counts = here.new_zeros(len(tokens), N_TOKENS**2).scatter_add_(1, numbers, here)
                sums = torch.addmm(sums, counts, table.weight.to(here.dtype))
            parts.append(sums)
        if self.config.n_profile_waves:
            kinds = (self.profile(tokens) * here[..., None]).to(here.dtype)
            waves = _waves(mask, self.config.n_profile_waves).to(here.dtype)
            parts.append((waves.transpose(1, 2) @ kinds).flatten(1))
        return torch.cat(parts, dim=1) / here.sum(dim=1, keepdim=True)

    def _pairs(self, tokens: torch.Tensor) -> Iterator[tuple[nn.Embedding, torch.Tensor]]:
        """For each gap its table and the row of it that each residue looks up, (n, T)."""
        for table, gap in zip(self.pairs, self.config.gaps, strict=True):
            yield cast(nn.Embedding, table), tokens * N_TOKENS + _shifted(tokens, gap)

    def proteins(self, tokens: torch.Tensor, mask: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
        """The mean of each protein's residue vectors, (n, output_size), from its wide states.

        The projection is linear: it is enough to project the means.
        """
        here = mask[:, :, None].to(wide.dtype)
        means = (wide * here).sum(1) / here.sum(1)
        return cast(torch.Tensor, self.project(torch.cat([means, self.mean_spectrum(tokens, mask)], dim=1)))


def _waves(mask: torch.Tensor, n_waves: int) -> torch.Tensor:
    """Waves 1 to n along each chain, (n, T, n_waves): ``cos(pi j (i + 1/2) / L)`` at residue i of L."""
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
    places = (torch.arange(mask.shape[1], device=mask.device)[None] + 0.5) / lengths
    numbers = torch.arange(1, n_waves + 1, device=mask.device)
    return torch.cos(torch.pi * places[:, :, None] * numbers)


def _shifted(tokens: torch.Tensor, offset: int) -> torch.Tensor:
    """The token ``offset`` residues on, padding beyond the ends."""
    moved = torch.full_like(tokens, PAD_ID)
    if abs(offset) < tokens.shape[1]:
        if offset > 0:
            moved[:, :-offset] = tokens[:, offset:]
        else:
            moved[:, -offset:] = tokens[:, :offset]
    return moved


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02 * (128 / module.in_features) ** 0.5 * 2)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.5 if module.num_embeddings == N_TOKENS else 0.05)
