"""Settings of a fine-tuning from options, where it goes, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.render.output import print_facts, say, warn
from embedstore.errors import InputError

if TYPE_CHECKING:
    from cli.task_options import TaskOptions
    from heads import FittedHead


def chosen_settings(params: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What was given, by option or by --param; None was not given."""
    given = {name: value for name, value in options.items() if value is not None}
    twice = sorted(params.keys() & (given.keys() - {"device"}))
    if twice:
        raise InputError(f"{twice[0]} was given as an option and as --param. Give it once.")
    # A directory is named as it is from here; another folder may be the current one when the model is loaded again.
    model = given.get("model")
    if model is not None and Path(model).is_dir() and "family" in given:
        given["model"] = str(Path(model).absolute())
    return {**given, **params}


def default_out(settings: dict[str, Any], options: TaskOptions) -> Path:
    """``<task or data set or file>-<model>-<method>``."""
    from heads.finetuning.settings import with_preset

    effective = {"model": "mini", "method": "lora", **with_preset(settings.get("preset"), settings)}
    what = options.task or options.dataset or (options.labels.name.split(".")[0] if options.labels else "model")
    return Path(f"{what}-{Path(str(effective['model'])).name}-{effective['method']}")


def print_finetuned(fitted: FittedHead, saved: Path, *, json_: bool) -> None:
    """Say how far the training came, and where the model is."""
    settings, n_rows = fitted.head.settings(), fitted.n_rows
    if json_:
        print_facts({"saved": str(saved), **fitted.describe()}, json_=True)
        return
    history = settings["history"]
    best = history[settings["best_epoch"] - 1]
    score = "" if best["valid_score"] is None else f", validation score {best['valid_score']:.4f}"
    say(
        f"{saved}: {n_rows['train']:,} training and {n_rows['valid']:,} validation rows; epoch {best['epoch']} of "
        f"{len(history)} kept, training loss {best['train_loss']:.4f}{score}; {settings['n_learning']:,} of "
        f"{settings['n_weights']:,} weights learnt."
    )
    say(f"Use it: `embedstore build --model {saved}`, `heads predict {saved} new.fasta`.")
    if settings["n_skipped"] or settings["n_cropped"]:
        warn(f"over the length limit: {settings['n_skipped']:,} rows left out, {settings['n_cropped']:,} cropped.")
    if settings["n_halved"]:
        warn(f"memory ran out {settings['n_halved']} times: passes were made smaller; a step had the same proteins.")


def place_encoder(fitted: FittedHead, *, weights: Path | None, device: str) -> bool:
    """Tell a fine-tuned head where its base is and where to compute; False for a head that reads vectors."""
    from heads.catalog import HEADS

    if HEADS[fitted.head_name].reads != "sequences":
        return False
    if fitted.head_name == "finetune":
        fitted.head.set_params(device=device, **({} if weights is None else {"weights": str(weights)}))
    return True
