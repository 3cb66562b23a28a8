"""The weights that learn: steps of the optimiser, learning rates over time, and the best values so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from heads.finetuning.network import Network
from heads.finetuning.settings import Settings

Tensors = dict[str, torch.Tensor]


class Descent:
    """Gradients are collected by `scaled`, a step is taken by `step`.

    Parameters
    ----------
    network
        The network, its learning weights chosen.
    settings
        The optimiser, its rates and their schedule.
    n_steps
        Steps of the whole training.
    scales
        Whether the loss is scaled, as float16 needs.

    Attributes
    ----------
    weights
        The learning weights by name.
    scales
        Whether the loss is scaled. A norm that is not finite is no error then: `step` takes a smaller scale instead.
    """

    def __init__(self, network: Network, settings: Settings, *, n_steps: int, scales: bool) -> None:
        self.weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self.scales = scales
        self._settings, self._n_steps = settings, n_steps
        self._device = next(network.parameters()).device
        self._optimizer = self._make_optimizer()
        self._scaler = torch.GradScaler(self._device.type, enabled=scales)
        self._best: Tensors = {}
        self.keep()

    def rate_share(self, step: int) -> float:
        """Part of the learning rates at a step: it rises, and then falls as a cosine or stays."""
        total = self._n_steps
        rising = math.ceil(self._settings.warmup * total) if self._settings.schedule == "cosine" else 0
        if step < rising:
            return (step + 1) / rising
        if self._settings.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))

    def clear(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to take gradients of."""
        return self._scaler.scale(loss)

    def clipped(self) -> float:
        """Shorten the gradient to the limit of the settings, and give its norm before."""
        self._scaler.unscale_(self._optimizer)
        limit = math.inf if self._settings.clip is None else self._settings.clip
        return float(torch.nn.utils.clip_grad_norm_(list(self.weights.values()), limit))

    def step(self, number: int) -> None:
        """Move the weights, at the rates of that step (from 0 on)."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_lr"] * self.rate_share(number)
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def keep(self) -> None:
        """Remember the weights as the best so far."""
        self._best = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def take_best(self) -> None:
        """Set the weights to the best so far."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self._best[name])

    def state(self) -> tuple[Tensors, dict[str, float]]:
        """What a checkpoint keeps: tensors, among them the states of the random generators, and the scale."""
        tensors: Tensors = {f"weights/{name}": weight for name, weight in self.weights.items()}
        tensors |= {f"best/{name}": weight for name, weight in self._best.items()}
        tensors |= {f"moments/{moment}/{name}": tensor for name, moment, tensor in self._moments()}
        tensors |= {f"generators/{name}": state for name, state in self.generators().items()}
        return tensors, self._scaler.state_dict()

    def restore(self, tensors: Mapping[str, torch.Tensor], scale: dict[str, float]) -> None:
        """Go back to a `state`."""
        self._scaler.load_state_dict(scale)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weights/{name}"])
        self._best = {name: tensors[f"best/{name}"].to(self._device) for name in self.weights}
        for key, tensor in tensors.items():
            group, _, rest = key.partition("/")
            if group == "moments":
                moment, _, name = rest.partition("/")
                place = tensor if moment == "step" else tensor.to(self._device)
                self._optimizer.state[self.weights[name]][moment] = place
        prefix = "generators/"
        self.restore_generators(
            {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        )

    def generators(self) -> Tensors:
        """States of the random generators that dropout draws from."""
        found = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self._device)
        return found

    def restore_generators(self, states: Mapping[str, torch.Tensor]) -> None:
        """Go back to `generators`: what is drawn next is drawn again."""
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and self._device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self._device)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        settings = self._settings
        groups = []
        for is_head, rate in ((True, settings.head_rate), (False, settings.rate)):
            chosen = [weight for name, weight in self.weights.items() if name.startswith("head.") == is_head]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": settings.weight_decay})
        if settings.optimizer == "adam":
            return torch.optim.Adam(groups)
        return torch.optim.AdamW(groups)

    def _moments(self) -> Iterator[tuple[str, str, torch.Tensor]]:
        """The optimiser's tensors: name of the weight, name of the moment, tensor."""
        names = {id(weight): name for name, weight in self.weights.items()}
        for weight, state in self._optimizer.state.items():
            for moment, tensor in state.items():
                yield names[id(weight)], moment, tensor
