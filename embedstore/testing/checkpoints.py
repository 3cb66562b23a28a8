"""Small random checkpoints with tokenizers of the real layout, for tests, demos and plug-in authors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, processors
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    ElectraConfig,
    ElectraModel,
    EsmConfig,
    EsmModel,
    T5Config,
    T5EncoderModel,
    XLNetConfig,
    XLNetModel,
)

from embedstore.catalog import unknown_name
from embedstore.errors import InputError
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder
from embedstore.models.transformers_loader import quiet_transformers, transformers_class

# Vocabularies in the order of the real ones: model cards and repositories of Rostlab/prot_t5_xl_half_uniref50-enc,
# Rostlab/prot_bert and facebook/esm2_t6_8M_UR50D.
_T5_RESIDUES = "ALGVSREDTIPKFQNYMHWCXBOUZ"
_N_EXTRA_IDS = 100
_BERT_VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO")
_ESM_VOCABULARY = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>")
# From memory: ProstT5's structure states, added after the 128 of ProtT5 together with two prefixes.
_STRUCTURE_STATES = "acdefghiklmnpqrstvwy"
_PROST_T5_PREFIXES = ("<fold2AA>", "<AA2fold>")
# From memory: SentencePiece's pieces for punctuation, which XLNet's and ALBERT's training scripts always add.
_PUNCTUATION = (".", "(", ")", '"', "-", "–", "£", "€")
_ANKH_EXTRA_IDS = 116


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
        One of :data:`KINDS`: a name in `embedstore.models.catalog.FAMILIES`, or ``"esm1"``, which is family ``"esm"``
        as ESM-1b and ESM-1v are, with absolute positions and a normalisation before the first layer.
    seed
        Same seed, same weights, byte for byte with one version of torch. torch's global generator is left as it was.
    dim, n_layers, n_heads
        Size of the encoder; ``dim`` is a multiple of ``2 * n_heads``.
    n_positions
        Positions of a ``"bert"``, ``"electra"`` or ``"albert"`` checkpoint, which takes two residues less; ProtTrans's
        have 40,000. An ``"esm1"`` has 1,026, for 1,022 residues, an ``"esmc"`` 2,048. The others take any length.
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
    InputError
        If the installed transformers is too old to know it, or weights of ``"mini"`` are to be no safetensors.

    Notes
    -----
    From memory, and not compared with the repositories: the structure states of ``"prost_t5"``, the punctuation in the
    vocabularies of ``"albert"`` (34) and ``"xlnet"`` (37), and the number of extra tokens of ``"ankh"`` (144 in all).

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
        if isinstance(encoder, MiniEncoder):
            _save_mini(encoder, path, safetensors)
        elif safetensors:
            encoder.save_pretrained(path)
        else:
            encoder.config.architectures = [type(encoder).__name__]
            encoder.config.save_pretrained(path)
            torch.save(encoder.state_dict(), path / "pytorch_model.bin")
    return path


def _make_t5(path: Path, size: _Size) -> Any:
    """ProtT5: SentencePiece unigram pieces, vocabulary 128, ReLU feed-forward, encoder alone."""
    pieces = [f"▁{letter}" for letter in _T5_RESIDUES]
    _write_spiece(path / "spiece.model", ["<pad>", "</s>", "<unk>"], pieces)
    extra = [f"<extra_id_{number}>" for number in range(_N_EXTRA_IDS)]
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _write_json(path / "special_tokens_map.json", {**special, "additional_special_tokens": extra})
    _write_json(
        path / "tokenizer_config.json",
        {**special, "do_lower_case": False, "extra_ids": _N_EXTRA_IDS, "additional_special_tokens": extra},
    )
    return T5EncoderModel(_t5_config(size, 3 + len(pieces) + _N_EXTRA_IDS, "relu"))


def _make_prost_t5(path: Path, size: _Size) -> Any:
    """ProstT5: ProtT5's pieces, then structure states and the two prefixes as added tokens, vocabulary 150."""
    encoder = _make_t5(path, size)
    n_pieces = encoder.config.vocab_size
    added = (*_STRUCTURE_STATES, *_PROST_T5_PREFIXES)
    _write_json(path / "added_tokens.json", {token: n_pieces + rank for rank, token in enumerate(added)})
    config = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["added_tokens_decoder"] = {
        str(n_pieces + rank): {
            "content": token,
            "lstrip": False,
            "normalized": token not in _PROST_T5_PREFIXES,
            "rstrip": False,
            "single_word": False,
            "special": False,
        }
        for rank, token in enumerate(added)
    }
    _write_json(path / "tokenizer_config.json", config)
    return T5EncoderModel(_t5_config(size, n_pieces + len(added), "relu"))


def _make_ankh(path: Path, size: _Size) -> Any:
    """Ankh: bare letters in a tokenizer.json that splits no words, vocabulary 144, gated feed-forward."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(letter, -2.5 - 0.1 * rank) for rank, letter in enumerate(_T5_RESIDUES)]
    extra = [(f"<extra_id_{number}>", 0.0) for number in reversed(range(_ANKH_EXTRA_IDS))]
    tokenizer = Tokenizer(models.Unigram([*special, *letters, *extra], unk_id=2, byte_fallback=False))
    tokenizer.add_special_tokens([token for token, _ in (*special, *extra)])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(path / "tokenizer.json"))
    _write_json(
        path / "tokenizer_config.json",
        {
            "tokenizer_class": "T5Tokenizer",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "extra_ids": _ANKH_EXTRA_IDS,
        },
    )
    return T5EncoderModel(_t5_config(size, tokenizer.get_vocab_size(), "gated-gelu"))


def _t5_config(size: _Size, n_tokens: int, feed_forward: str) -> T5Config:
    return T5Config(
        vocab_size=n_tokens,
        d_model=size.dim,
        d_kv=size.dim // size.n_heads,
        d_ff=4 * size.dim,
        num_layers=size.n_layers,
        num_decoder_layers=size.n_layers,
        num_heads=size.n_heads,
        feed_forward_proj=feed_forward,
        is_encoder_decoder=False,
        use_cache=False,
    )


def _bert_sizes(size: _Size) -> dict[str, Any]:
    """What the configurations of BERT, ELECTRA and ALBERT have in common."""
    return {
        "hidden_size": size.dim,
        "num_hidden_layers": size.n_layers,
        "num_attention_heads": size.n_heads,
        "intermediate_size": 4 * size.dim,
        "max_position_embeddings": size.n_positions,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _write_bert_vocabulary(path: Path) -> None:
    (path / "vocab.txt").write_text("\n".join(_BERT_VOCABULARY) + "\n", encoding="utf-8")
    _write_json(path / "tokenizer_config.json", {"do_lower_case": False})


def _make_bert(path: Path, size: _Size) -> Any:
    """ProtBert: vocabulary of 30, cased, no pooler."""
    _write_bert_vocabulary(path)
    return BertModel(BertConfig(vocab_size=len(_BERT_VOCABULARY), **_bert_sizes(size)), add_pooling_layer=False)


def _make_electra(path: Path, size: _Size) -> Any:
    """ProtElectra's discriminator: ProtBert's vocabulary, embeddings as wide as the states."""
    _write_bert_vocabulary(path)
    # Nothing here says that the text is cased: who loads the tokenizer must.
    (path / "tokenizer_config.json").unlink()
    return ElectraModel(ElectraConfig(vocab_size=len(_BERT_VOCABULARY), embedding_size=size.dim, **_bert_sizes(size)))


def _make_albert(path: Path, size: _Size) -> Any:
    """ProtAlbert: SentencePiece, vocabulary 34, narrow embeddings, one layer's weights for all."""
    pieces = [*_PUNCTUATION, *(f"▁{letter}" for letter in _T5_RESIDUES[:21])]
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    _write_spiece(path / "spiece.model", special, pieces)
    config = AlbertConfig(
        vocab_size=len(special) + len(pieces), embedding_size=max(8, size.dim // 4), **_bert_sizes(size)
    )
    return AlbertModel(config, add_pooling_layer=False)


def _make_xlnet(path: Path, size: _Size) -> Any:
    """ProtXLNet: SentencePiece, vocabulary 37 with the twenty residues alone, segments, relative positions."""
    special = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
    pieces = [*_PUNCTUATION, *(f"▁{letter}" for letter in _T5_RESIDUES[:20])]
    _write_spiece(path / "spiece.model", special, pieces)
    config = XLNetConfig(
        vocab_size=len(special) + len(pieces),
        d_model=size.dim,
        n_layer=size.n_layers,
        n_head=size.n_heads,
        d_inner=4 * size.dim,
        dropout=0.0,
    )
    return XLNetModel(config)


def _make_esm(path: Path, size: _Size) -> Any:
    """ESM-2: vocabulary of 33, rotary positions, token dropout, no normalisation before the first layer."""
    return _esm(path, size, position_embedding_type="rotary", emb_layer_norm_before=False)


def _make_esm1(path: Path, size: _Size) -> Any:
    """ESM-1b: absolute positions, of which padding and two special tokens take four, and a normalisation before."""
    return _esm(path, size, position_embedding_type="absolute", emb_layer_norm_before=True)


def _esm(path: Path, size: _Size, **form: Any) -> Any:
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
        token_dropout=True,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **form,
    )
    return EsmModel(config, add_pooling_layer=False)


def _make_esmc(path: Path, size: _Size) -> Any:
    """ESM C: the tokenizer that transformers brings, vocabulary of 64 of which 33 are used, SwiGLU."""
    transformers_class("EsmcTokenizer", since="5.23")().save_pretrained(path)
    config = transformers_class("EsmcConfig", since="5.23")(
        hidden_size=size.dim,
        intermediate_size=4 * size.dim,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
    )
    return transformers_class("EsmcModel", since="5.23")(config)


def _make_mini(path: Path, size: _Size) -> MiniEncoder:
    """Mini: convolutions and attention in turns, a short spectrum; its tokens are in the code."""
    return MiniEncoder(
        MiniConfig(
            hidden_size=size.dim,
            wide_size=size.dim,
            output_size=size.dim,
            pair_size=8,
            n_profile_waves=2,
            blocks=("ca" * size.n_layers)[: size.n_layers],
            convolution_size=size.dim // 2,
            n_heads=size.n_heads,
        )
    )


def _save_mini(encoder: MiniEncoder, path: Path, safetensors: bool) -> None:
    if not safetensors:
        raise InputError("A mini checkpoint with safetensors=False was asked for; its family reads safetensors alone.")
    _write_json(path / "config.json", {"model_type": "mini", **asdict(encoder.config)})
    save_file(encoder.state_dict(), path / "model.safetensors")


_MAKERS: dict[str, Callable[[Path, _Size], Any]] = {
    "t5": _make_t5,
    "prost_t5": _make_prost_t5,
    "ankh": _make_ankh,
    "bert": _make_bert,
    "electra": _make_electra,
    "albert": _make_albert,
    "xlnet": _make_xlnet,
    "esm": _make_esm,
    "esm1": _make_esm1,
    "esmc": _make_esmc,
    "mini": _make_mini,
}

KINDS = tuple(_MAKERS)
"""Every kind of checkpoint that :func:`make_checkpoint` writes: each family, and some twice."""


def family_of(kind: str) -> str:
    """The family that a kind of checkpoint is loaded as: ``"esm1"`` and ``"esm"`` are one.

    >>> family_of("esm1"), family_of("t5")
    ('esm', 't5')
    """
    return "esm" if kind == "esm1" else kind


def _spread(encoder: torch.nn.Module) -> None:
    """Draw every matrix so that a layer keeps the variance of its input.

    transformers draws with a standard deviation of 0.02 whatever the width: at small widths a layer then adds next
    to nothing, and a test would not see attention or positions at all.
    """
    lookups = {id(module.weight) for module in encoder.modules() if isinstance(module, torch.nn.Embedding)}
    for name, weight in encoder.named_parameters():
        if weight.dim() < 2:
            continue
        # Embeddings are looked up and not summed: their scale is 1, and positions stay behind the residues.
        is_lookup = id(weight) in lookups
        # XLNet's matrices are (inputs, heads, width of a head), all others (outputs, inputs).
        n_inputs = weight.shape[0] if weight.dim() == 3 else weight.shape[1]
        deviation = (0.3 if "position" in name or "token_type" in name else 1.0) if is_lookup else n_inputs**-0.5
        torch.nn.init.normal_(weight, std=deviation)


def _write_spiece(path: Path, special: list[str], pieces: list[str]) -> None:
    """Write a SentencePiece unigram model: special pieces, of which <unk> is the unknown one, then the others."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    kind = proto.SentencePiece.Type
    for piece in special:
        proto.pieces.add(piece=piece, score=0.0, type=kind.Value("UNKNOWN" if piece == "<unk>" else "CONTROL"))
    for rank, piece in enumerate(pieces):
        proto.pieces.add(piece=piece, score=-2.5 - 0.1 * rank, type=kind.Value("NORMAL"))
    trainer = proto.trainer_spec
    trainer.model_type = trainer.ModelType.Value("UNIGRAM")
    trainer.vocab_size = len(proto.pieces)
    for name, piece in (("unk", "<unk>"), ("pad", "<pad>"), ("bos", "<s>"), ("eos", "</s>")):
        setattr(trainer, f"{name}_id", special.index(piece) if piece in special else -1)
    proto.normalizer_spec.name = "identity"
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
