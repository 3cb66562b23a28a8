from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedstore.errors import EmbedstoreError, InputError, OutOfMemoryError, UnknownNameError
from embedstore.models import load_model
from embedstore.models.catalog import FAMILIES
from embedstore.models.devices import cpu_has_bfloat16, resolve_device, resolve_precision
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.parity import check
from embedstore.testing.model_contract import MIXED, TOLERANCE, distance

CPU = torch.device("cpu")


def load(path: Path, family: str, precision: str = "float32") -> EncoderModel:
    model = load_model(path, family=family, device="cpu", precision=precision)
    assert isinstance(model, EncoderModel)
    return model


def test_automatic_precision_on_a_cpu_is_what_it_computes_natively() -> None:
    assert resolve_precision("auto", CPU, half=None) == "float32"
    assert resolve_precision("auto", CPU) == ("bfloat16" if cpu_has_bfloat16() else "float32")


def test_automatic_precision_on_a_gpu_is_what_the_models_card_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert resolve_precision("auto", gpu, half="float16") == "float16"
    assert resolve_precision("auto", gpu, half=None) == "float32"
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda _, native=native: native)
        assert resolve_precision("auto", gpu, half="bfloat16") == expected


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(InputError, match="precision='float16' on a CPU"):
        resolve_precision("float16", CPU)


def test_unknown_precisions_and_devices_are_named() -> None:
    with pytest.raises(UnknownNameError, match="Unknown precision 'float8'"):
        resolve_precision("float8", CPU)
    with pytest.raises(InputError, match="Unknown device 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(InputError, match="'cuda:63' is not there"):
        resolve_device("cuda:63")


def test_a_float16_checkpoint_is_computed_in_float32_on_a_cpu(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    directory = shutil.copytree(checkpoints["t5"], tmp_path / "half")
    state = torch.load(directory / "pytorch_model.bin", weights_only=True)
    torch.save({key: value.half() for key, value in state.items()}, directory / "pytorch_model.bin")
    half = load(directory, "t5")
    assert distance(half.embed(MIXED), load(checkpoints["t5"], "t5").embed(MIXED)) < 5e-3
    assert {weight.dtype for weight in half._encoder("float32").parameters()} == {torch.float32}


def test_in_float16_t5_keeps_wo_in_float32(checkpoints: dict[str, Path]) -> None:
    # As on a GPU; loaded on the CPU, where it is not offered for use.
    encoder = load(checkpoints["t5"], "t5")._load_encoder(torch.float16)
    dtypes = {name.split(".")[-2]: weight.dtype for name, weight in encoder.named_parameters()}
    assert dtypes["wo"] == torch.float32
    assert dtypes["wi"] == dtypes["q"] == torch.float16


@pytest.mark.parametrize("family", list(FAMILIES))
def test_bfloat16_stays_near_float32(family: str, checkpoints: dict[str, Path]) -> None:
    low = load(checkpoints[family], family, "bfloat16").embed(MIXED)
    assert low.dtype == np.float32
    assert distance(low, load(checkpoints[family], family).embed(MIXED)) < 5e-2


def test_a_sequence_that_overflows_is_computed_again_in_float32(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["esm"], "esm", "bfloat16")
    broken = model._encoder("bfloat16")
    with torch.no_grad():
        # W alone overflows: its embedding is infinite in the low precision.
        broken.embeddings.word_embeddings.weight[int(model.tokens.ids[ord("W")])] = float("inf")
    vectors = model.embed([b"MKVLAT", b"MWK", b"GGA"])
    assert model.n_recomputed == 1
    plain = load(checkpoints["esm"], "esm").embed([b"MWK"])
    np.testing.assert_allclose(vectors[1], plain[0], rtol=1e-5, atol=1e-6)


def test_a_sequence_that_overflows_is_counted_once_whatever_is_asked_of_it(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["bert"], "bert", "bfloat16")
    with torch.no_grad():
        words = model._encoder("bfloat16").embeddings.word_embeddings
        words.weight[int(model.tokens.ids[ord("W")])] = float("inf")
    found = model.embed_each([b"MWK", b"MKV"], ["mean", "max", "first", "residues"])
    assert model.n_recomputed == 1
    exact = load(checkpoints["bert"], "bert").embed_each([b"MWK"], ["max", "first", "residues"])
    for name in ("max", "first", "residues"):
        np.testing.assert_allclose(found[name][0], exact[name][0], rtol=1e-5, atol=1e-6)


def test_minus_infinity_is_found_under_a_maximum_too(checkpoints: dict[str, Path]) -> None:
    model = load_model(checkpoints["esm"], family="esm", device="cpu", precision="bfloat16", layer=0)
    assert isinstance(model, EncoderModel)
    with torch.no_grad():
        words = model._encoder("bfloat16").embeddings.word_embeddings
        words.weight[int(model.tokens.ids[ord("W")])] = float("-inf")
    model.embed([b"MWK"], pooling="max")
    assert model.n_recomputed == 1


def test_nan_in_float32_is_an_error_that_names_the_row(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["esm"], "esm")
    with torch.no_grad():
        model._encoder("float32").embeddings.word_embeddings.weight[int(model.tokens.ids[ord("W")])] = float("nan")
    with pytest.raises(EmbedstoreError, match="NaN or infinity for sequence 2 of the batch"):
        model.embed([b"MKV", b"GGA", b"MWK"])


def test_a_cpu_allocation_that_fails_is_our_out_of_memory(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["bert"], "bert")
    model._encoder("float32").register_forward_pre_hook(lambda *_: torch.empty(2**50))
    with pytest.raises(OutOfMemoryError, match="batch of 2 sequences, 96 residues the longest"):
        model.embed([MIXED[0], b"MKV"])


def test_other_errors_of_torch_keep_their_traceback(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["bert"], "bert")
    model._encoder("float32").register_forward_pre_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size|size mismatch"):
        model.embed([b"MKV"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", list(FAMILIES))
def test_half_precision_on_a_gpu_stays_near_float32_on_the_cpu(family: str, checkpoints: dict[str, Path]) -> None:
    model = load_model(checkpoints[family], family=family, device="cuda")
    assert isinstance(model, EncoderModel)
    assert model.identity()["precision"] == (model.half_precision or "float32")
    assert distance(model.embed(MIXED), load(checkpoints[family], family).embed(MIXED)) < TOLERANCE[model.precision]
    assert check(model).ok
