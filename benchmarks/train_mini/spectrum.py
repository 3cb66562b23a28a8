"""The part of `mini` that is not learned: residue pairs, and residues along the chain, as the model `kmer` has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from embedstore.models.kmer import FREQUENCY
from embedstore.models.mini_encoder import MiniEncoder
from embedstore.models.mini_tokens import N_STANDARD, N_TOKENS, X_ID
from embedstore.numerics import splitmix64

PAIR_SIZE = 312
N_PROFILE_WAVES = 10


def with_spectrum(encoder: MiniEncoder) -> MiniEncoder:
    """The encoder with the spectrum's tables, and a projection that changes nothing of it."""
    config = replace(encoder.config, pair_size=PAIR_SIZE, n_profile_waves=N_PROFILE_WAVES)
    size = config.output_size + config.spectrum_size
    config = replace(config, output_size=size)
    joint = MiniEncoder(config)
    state = joint.state_dict()
    held = encoder.state_dict()
    state.update({name: value for name, value in held.items() if not name.startswith("project.")})
    shares = FREQUENCY / FREQUENCY.sum()
    profile = np.zeros((N_TOKENS, N_STANDARD))
    profile[X_ID + 1 :] = (np.eye(N_STANDARD) - shares) / np.sqrt(shares)
    state["profile.weight"] = torch.from_numpy(profile).float()
    for number in range(len(config.gaps)):
        words = splitmix64(np.arange(N_STANDARD**2 * 5, dtype=np.uint64) + np.uint64(number << 32))
        bits = (words.reshape(-1, 5)[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        signs = 1.0 - 2.0 * bits.reshape(N_STANDARD**2, -1)[:, :PAIR_SIZE]
        weights = np.outer(shares, shares).reshape(-1)
        rows = signs / np.sqrt(weights)[:, None]
        rows -= weights @ rows
        table = np.zeros((N_TOKENS, N_TOKENS, PAIR_SIZE))
        table[X_ID + 1 :, X_ID + 1 :] = rows.reshape(N_STANDARD, N_STANDARD, PAIR_SIZE)
        state[f"pairs.{number}.weight"] = torch.from_numpy(table.reshape(-1, PAIR_SIZE)).float()
    n = config.wide_size
    project = torch.zeros(size, n + config.spectrum_size)
    project[:n, :n] = held["project.weight"]
    project[n:, n:] = torch.eye(config.spectrum_size)
    state["project.weight"] = project
    state["project.bias"] = torch.cat((held["project.bias"], torch.zeros(config.spectrum_size)))
    joint.load_state_dict(state)
    return joint.eval()
