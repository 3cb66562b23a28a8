"""Small random checkpoints with tokenizers of the real layout, for tests, demos and plug-in authors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import BertConfig, BertModel, EsmConfig, EsmModel, T5Config, T5EncoderModel

from embedstore.models.transformer import quiet_transformers
from embedstore.registry import unknown_name

# Vocabularies in the order of the real ones: model cards and repositories of Rostlab/prot_t5_xl_half_uniref50-enc,
# Rostlab/prot_bert and facebook/esm2_t6_8M_UR50D.
_T5_RESIDUES = "ALGVSREDTIPKFQNYMHWCXBOUZ"
_N_EXTRA_IDS = 100
_BERT_VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO")
_ESM_VOCABULARY = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    dim: int
    n_layers: int
    n_heads: int
    n_positions: int


def make_checkpoint(
    directory: str | PathLike[str],
    family: str,
    *,
    seed: int = 0,
    dim: int = 32,
    n_layers: int = 2,
    n_heads: int = 4,
    n_positions: int = 4_096,
    safetensors: bool = True,
) -> Path:
    """Write a small, randomly initialised checkpoint that loads like the real one of its family.

    The tokenizer is the real one's: same vocabulary, same order, same special tokens. The weights are drawn so that
    residues, their neighbours and their places all move the vectors, which therefore are well apart from each other.
    They know nothing of proteins.

    Parameters
    ----------
    directory
        Made if it is not there; files in it are overwritten.
    family
        ``"t5"``, ``"bert"`` or ``"esm"``.
    seed
        Same seed, same weights, byte for byte with one version of torch. torch's global generator is left as it was.
    dim, n_layers, n_heads
        Size of the encoder; ``dim`` is a multiple of ``2 * n_heads``.
    n_positions
        Positions of a ``"bert"`` checkpoint, which takes two residues less; ProtBert has 40,000. The other families
        take any length.
    safetensors
        If False, write ``pytorch_model.bin`` instead, as ProtT5's repository has it.

    Returns
    -------
    Path
        ``directory``, for ``load_model(path, family=family)``.

    Raises
    ------
    UnknownNameError
        If there is no such family.

    Examples
    --------
    >>> import tempfile
    >>> from embedstore.models import load_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = load_model(make_checkpoint(folder, "esm"), family="esm", device="cpu", precision="float32")
    ...     model.embed([b"MKVLAT", b"W"]).shape
    (2, 32)
    """
    if family not in _MAKERS:
        raise unknown_name("model family", family, list(_MAKERS))
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        encoder = _MAKERS[family](path, _Size(dim=dim, n_layers=n_layers, n_heads=n_heads, n_positions=n_positions))
        _spread(encoder)
        if safetensors:
            encoder.save_pretrained(path)
        else:
            encoder.config.architectures = [type(encoder).__name__]
            encoder.config.save_pretrained(path)
            torch.save(encoder.state_dict(), path / "pytorch_model.bin")
    return path


def _make_t5(path: Path, size: _Size) -> Any:
    """ProtT5: SentencePiece unigram pieces, vocabulary 128, ReLU feed-forward, encoder alone."""
    pieces = [f"▁{letter}" for letter in _T5_RESIDUES]
    _write_spiece(path / "spiece.model", pieces)
    extra = [f"<extra_id_{number}>" for number in range(_N_EXTRA_IDS)]
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _write_json(path / "special_tokens_map.json", {**special, "additional_special_tokens": extra})
    _write_json(
        path / "tokenizer_config.json",
        {**special, "do_lower_case": False, "extra_ids": _N_EXTRA_IDS, "additional_special_tokens": extra},
    )
    config = T5Config(
        vocab_size=3 + len(pieces) + _N_EXTRA_IDS,
        d_model=size.dim,
        d_kv=size.dim // size.n_heads,
        d_ff=4 * size.dim,
        num_layers=size.n_layers,
        num_decoder_layers=size.n_layers,
        num_heads=size.n_heads,
        feed_forward_proj="relu",
        is_encoder_decoder=False,
        use_cache=False,
    )
    return T5EncoderModel(config)


def _make_bert(path: Path, size: _Size) -> Any:
    """ProtBert: vocabulary of 30, cased, no pooler."""
    (path / "vocab.txt").write_text("\n".join(_BERT_VOCABULARY) + "\n", encoding="utf-8")
    _write_json(path / "tokenizer_config.json", {"do_lower_case": False})
    config = BertConfig(
        vocab_size=len(_BERT_VOCABULARY),
        hidden_size=size.dim,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        intermediate_size=4 * size.dim,
        max_position_embeddings=size.n_positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=False)


def _make_esm(path: Path, size: _Size) -> Any:
    """ESM-2: vocabulary of 33, rotary positions, token dropout, no normalisation before the first layer."""
    (path / "vocab.txt").write_text("\n".join(_ESM_VOCABULARY), encoding="utf-8")
    special = {"cls_token": "<cls>", "pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    _write_json(path / "special_tokens_map.json", {**special, "mask_token": "<mask>"})
    _write_json(path / "tokenizer_config.json", {"tokenizer_class": "EsmTokenizer"})
    config = EsmConfig(
        vocab_size=len(_ESM_VOCABULARY),
        mask_token_id=_ESM_VOCABULARY.index("<mask>"),
        pad_token_id=_ESM_VOCABULARY.index("<pad>"),
        hidden_size=size.dim,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        intermediate_size=4 * size.dim,
        max_position_embeddings=1_026,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return EsmModel(config, add_pooling_layer=False)


_MAKERS: dict[str, Callable[[Path, _Size], Any]] = {"t5": _make_t5, "bert": _make_bert, "esm": _make_esm}


def _spread(encoder: torch.nn.Module) -> None:
    """Draw every matrix so that a layer keeps the variance of its input.

    transformers draws with a standard deviation of 0.02 whatever the width: at small widths a layer then adds next
    to nothing, and a test would not see attention or positions at all.
    """
    for name, weight in encoder.named_parameters():
        if weight.dim() < 2:
            continue
        # Embeddings are looked up and not summed: their scale is 1, and positions stay behind the residues.
        is_lookup = any(part in name for part in ("embeddings", "shared", "embed_tokens", "relative_attention_bias"))
        deviation = (
            (0.3 if "position" in name or "token_type" in name else 1.0) if is_lookup else weight.shape[1] ** -0.5
        )
        torch.nn.init.normal_(weight, std=deviation)


def _write_spiece(path: Path, pieces: list[str]) -> None:
    """Write a SentencePiece unigram model with ProtT5's pieces: <pad> </s> <unk>, then one a residue."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    kind = proto.SentencePiece.Type
    for piece, score, type_ in [
        ("<pad>", 0.0, kind.Value("CONTROL")),
        ("</s>", 0.0, kind.Value("CONTROL")),
        ("<unk>", 0.0, kind.Value("UNKNOWN")),
        *((piece, -2.5 - 0.1 * rank, kind.Value("NORMAL")) for rank, piece in enumerate(pieces)),
    ]:
        proto.pieces.add(piece=piece, score=score, type=type_)
    proto.trainer_spec.model_type = proto.trainer_spec.ModelType.Value("UNIGRAM")
    proto.trainer_spec.vocab_size = len(proto.pieces)
    proto.trainer_spec.pad_id, proto.trainer_spec.eos_id, proto.trainer_spec.unk_id = 0, 1, 2
    proto.trainer_spec.bos_id = -1
    proto.normalizer_spec.name = "identity"
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
