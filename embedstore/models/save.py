"""Saving the encoder of a fine-tuned model: an adapter as peft writes it, or a whole checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from embedstore.models.adapters import ADAPTER_CONFIG, ADAPTER_FILE, PREFIX, read_adapter
from embedstore.models.checkpoint import weight_files
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.finetuned import Manifest, base_of, sha256_of, spec_fields
from embedstore.models.trainable import TrainableEncoder
from embedstore.models.transformers_loader import quiet_transformers

_TOKENIZER_FILES = (
    "tokenizer*",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.txt",
    "spiece.model",
)


def save_finetuned(
    model: EncoderModel, trained: TrainableEncoder, directory: Path, *, name: str, method: str, merge: bool = False
) -> Manifest:
    """Write the trained weights, the tokenizer's files and the manifest.

    Parameters
    ----------
    model
        The base.
    trained
        Its encoder after training.
    directory
        Where to; it is there already.
    name
        What the fine-tuned model is called.
    method
        ``frozen``, ``lora``, ``last_n`` or ``full``.
    merge
        Add adapters to the weights and write those whole, so that no base is needed.
    """
    _copy_tokenizer(model, directory)
    if method == "frozen":
        holds, written = "base", []
    elif method == "lora":
        written = _write_adapter(trained.encoder, directory)
        holds = "adapter"
        if merge:
            adapter = read_adapter(directory)
            for path in (*written, directory / ADAPTER_CONFIG):
                path.unlink(missing_ok=True)
            encoder = model.new_encoder()
            adapter.add_to(encoder)
            holds, written = "full", _write_full(model, encoder, directory)
    else:
        holds, written = "full", _write_full(model, trained.encoder, directory)
    manifest = Manifest(
        name=name,
        family=model.family,
        method=method,
        holds=holds,
        layer=model.layer,
        base=base_of(model),
        spec=spec_fields(model),
        files={path.name: sha256_of(path) for path in written},
    )
    manifest.write(directory)
    return manifest


def _write_adapter(encoder: Any, directory: Path) -> list[Path]:
    # An adapter was trained, so peft is installed.
    from peft import get_peft_model_state_dict

    # As peft's own save_pretrained names them, so that PeftModel.from_pretrained reads the folder too.
    state = get_peft_model_state_dict(encoder)
    tensors = {f"{PREFIX}{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, directory / ADAPTER_FILE)
    config = encoder.peft_config["default"].to_dict()
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    text = json.dumps({**plain, "inference_mode": True}, indent=2, sort_keys=True, default=str)
    (directory / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")
    return [directory / ADAPTER_FILE, directory / ADAPTER_CONFIG]


def _write_full(model: EncoderModel, encoder: Any, directory: Path) -> list[Path]:
    if hasattr(encoder, "save_pretrained"):
        with quiet_transformers():
            encoder.save_pretrained(directory)
    else:
        config = asdict(encoder.config) if is_dataclass(encoder.config) else dict(encoder.config)  # type: ignore[arg-type]
        text = json.dumps({"model_type": model.model_type, **config}, indent=2)
        (directory / "config.json").write_text(text + "\n", encoding="utf-8")
        state: dict[str, torch.Tensor] = encoder.state_dict()
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(tensors, directory / "model.safetensors")
    return [*weight_files(directory), directory / "config.json"]


def _copy_tokenizer(model: EncoderModel, directory: Path) -> None:
    for pattern in _TOKENIZER_FILES:
        for path in model.checkpoint.directory.glob(pattern):
            shutil.copyfile(path, directory / path.name)
