"""The arithmetic of `mini` in numpy, one protein at a time: what its vectors are compared with.

Nothing here uses our encoder, token table, batches or loading.
"""

from __future__ import annotations

import json
from math import erf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

_LETTERS = "ACDEFGHIKLMNPQRSTVWY"
_PAD, _UNKNOWN, _FIRST = 0, 2, 3
_N_TOKENS = _FIRST + len(_LETTERS)
_EPSILON = 1e-5

Matrix = NDArray[np.float64]

_erf = np.vectorize(erf, otypes=[np.float64])


class MiniReference:
    """A `mini` checkpoint in float64, from its files alone.

    Parameters
    ----------
    directory
        With ``config.json`` and ``model.safetensors``.
    """

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self.weights = {name: w.astype(np.float64) for name, w in load_file(directory / "model.safetensors").items()}

    def residues(self, protein: bytes, *, layer: int | None = None) -> NDArray[np.float32]:
        """Vectors of the residues, (L, D) float32; ``layer`` is None, for the last."""
        letters = protein.decode()
        tokens = [_FIRST + _LETTERS.index(letter) if letter in _LETTERS else _UNKNOWN for letter in letters]
        states = self.weights["residue.weight"][tokens]
        for number, (left, right) in enumerate(self.config["neighbours"]):
            rows = []
            for place, token in enumerate(tokens):
                before, after = self._at(tokens, place + left), self._at(tokens, place + right)
                rows.append((before * _N_TOKENS + token) * _N_TOKENS + after)
            states = states + self.weights[f"triplets.{number}.weight"][rows]
        n_convolutions = 0
        for number, kind in enumerate(self.config["blocks"]):
            if kind == "c":
                dilation = self.config["dilations"][n_convolutions % len(self.config["dilations"])]
                n_convolutions += 1
                states = self._convolution(f"blocks.{number}", states, dilation)
            else:
                states = self._attention(f"blocks.{number}", states)
        waves = self._waves(len(states), self.config["n_waves"])
        learned = _gelu(self._linear("widen", self._norm("norm", states))) * (
            1 + waves @ self.weights["place.weight"].T
        )
        return self._linear("project", np.hstack([learned, *self._spectrum(tokens)])).astype(np.float32)

    @staticmethod
    def _waves(length: int, count: int) -> Matrix:
        places = (np.arange(length) + 0.5)[:, None] / length
        values: Matrix = np.cos(np.pi * np.arange(1, count + 1) * places)
        return values

    def _spectrum(self, tokens: list[int]) -> list[Matrix]:
        """Pairs and profile of each residue, where the checkpoint has such."""
        values = []
        if self.config["pair_size"]:
            pairs = np.zeros((len(tokens), self.config["pair_size"]))
            for number, gap in enumerate(self.config["gaps"]):
                for place, token in enumerate(tokens):
                    row = token * _N_TOKENS + self._at(tokens, place + gap)
                    pairs[place] += self.weights[f"pairs.{number}.weight"][row]
            values.append(pairs)
        if self.config["n_profile_waves"]:
            kinds = self.weights["profile.weight"][tokens]
            waves = self._waves(len(tokens), self.config["n_profile_waves"])
            values.append(np.hstack([kinds * wave[:, None] for wave in waves.T]))
        return values

    @staticmethod
    def _at(tokens: list[int], place: int) -> int:
        return tokens[place] if 0 <= place < len(tokens) else _PAD

    def _linear(self, name: str, states: Matrix) -> Matrix:
        product: Matrix = states @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return product

    def _norm(self, name: str, states: Matrix) -> Matrix:
        centred = states - states.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + _EPSILON)
        normed: Matrix = scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return normed

    def _convolution(self, name: str, states: Matrix, dilation: int) -> Matrix:
        narrow = self._linear(f"{name}.down", _gelu(self._norm(f"{name}.norm", states)))
        narrow = _gelu(self._norm(f"{name}.norm_along", narrow))
        half = self.config["kernel_size"] // 2
        beside = np.zeros((len(states), 2 * half + 1, narrow.shape[1]))
        for place in range(len(states)):
            for step in range(-half, half + 1):
                if 0 <= place + step * dilation < len(states):
                    beside[place, step + half] = narrow[place + step * dilation]
        mixed = self._linear(f"{name}.along", beside.reshape(len(states), -1))
        return states + self._linear(f"{name}.up", _gelu(mixed))

    def _attention(self, name: str, states: Matrix) -> Matrix:
        n_heads = self.config["n_heads"]
        size = states.shape[1] // n_heads
        qkv = self._linear(f"{name}.qkv", self._norm(f"{name}.norm", states)).reshape(len(states), 3, n_heads, size)
        heads = []
        for head in range(n_heads):
            query, key = _rotated(qkv[:, 0, head]), _rotated(qkv[:, 1, head])
            scores = query @ key.T / np.sqrt(size)
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(shares / shares.sum(axis=1, keepdims=True) @ qkv[:, 2, head])
        states = states + self._linear(f"{name}.out", np.hstack(heads))
        return states + self._linear(
            f"{name}.down", _gelu(self._linear(f"{name}.up", self._norm(f"{name}.norm_up", states)))
        )


def _gelu(states: Matrix) -> Matrix:
    """Hendrycks & Gimpel 2016, arXiv:1606.08415, in its exact form."""
    values: Matrix = states * (1 + _erf(states / np.sqrt(2))) / 2
    return values


def _rotated(states: Matrix) -> Matrix:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864), the first half of the numbers paired with the second."""
    half = states.shape[1] // 2
    angles = np.arange(len(states))[:, None] * 10_000.0 ** (-np.arange(half) / half)
    pairs = (states[:, :half] + 1j * states[:, half:]) * np.exp(1j * angles)
    return np.hstack([pairs.real, pairs.imag])
