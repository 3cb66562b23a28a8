"""A batch that would not fit is refused before it is tried: Linux kills for memory, and raises nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

import embedstore
from embedstore.errors import OutOfMemoryError
from embedstore.models import load_model
from embedstore.models.memory import (
    MAX_PARALLEL,
    USABLE_SHARE,
    EncoderSize,
    available_bytes,
    cgroup_limits,
    plan_budget,
    total_bytes,
)
from embedstore.testing.checkpoints import make_checkpoint

CPU = torch.device("cpu")
T5 = EncoderSize(dim=32, inner=32, ff=128, n_heads=4, ff_copies=3, position_bias=True, fused=True)


def too_long() -> int:
    """Residues of a protein, 40,000 or more, that T5 cannot take on this machine."""
    length = 40_000
    while T5.forward_bytes(1, length, padded=False, itemsize=4, on_gpu=False) < 2 * available_bytes(CPU):
        length *= 2
    return length


def write_proteins(path: Path, longest: int) -> Path:
    lines = [f">short{n}\n{'MKVLATGHIW'[n:] * 5}\n" for n in range(7)]
    path.write_text("".join([*lines, f">giant\n{'MKVLATGHIW' * (longest // 10)}\n"]))
    return path


def test_a_giant_protein_is_skipped_by_name_and_the_others_are_embedded(tmp_path: Path) -> None:
    model = load_model(make_checkpoint(tmp_path / "t5", "t5", dim=32), family="t5", device="cpu", precision="float32")
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    store.add("p", write_proteins(tmp_path / "p.fasta", too_long()))
    # One batch for all eight: it is halved until the giant is alone.
    report = embedstore.build(store, model, long="skip", batch_residues=10**9)
    assert (report.n_expected, report.n_embedded, report.n_skipped) == (8, 7, 1)
    assert report.n_halved_batches == 3
    (reason,) = report.skipped.values()
    assert "needs about" in reason


def test_the_error_says_how_much_is_needed_and_available(checkpoints: dict[str, Path]) -> None:
    model = load_model(checkpoints["t5"], family="t5", device="cpu", precision="float32")
    with pytest.raises(
        OutOfMemoryError,
        match=r"batch of 1 sequence, \d+,000 residues .* needs about [\d.,]+ GiB of memory; [\d.,]+ GiB are available, "
        r"of which 80% .* batch_residues= \(--batch-residues\)",
    ):
        model.embed([b"M" * too_long()])


@pytest.mark.parametrize("family", ["bert", "esm"])
def test_fused_attention_takes_a_giant_protein(family: str, tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / family, family, dim=8, n_heads=1, n_layers=1, n_positions=36_000)
    model = load_model(path, family=family, device="cpu", precision="float32")
    assert model.embed([b"MKVLATGHIW" * 3_500]).shape == (1, 8)


MEASURE = """
import sys
from embedstore.models import load_model

def memory(field):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(field))

model = load_model(sys.argv[1], family=sys.argv[2], device="cpu", precision="float32")
model.embed([b"MKV", b"M"])
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
model.embed([b"MKVLATGHIW" * 150, b"MKVLATGHIW" * 100])
peak = memory("VmHWM") - before
size = model._encoder_size(model._encoder("float32").config)
print(size.forward_bytes(2, 1_500, padded=True, itemsize=4, on_gpu=False) / peak)
"""


SLOWER = [pytest.param(name, marks=pytest.mark.slow) for name in ("bert", "esm", "ankh", "albert", "xlnet", "esmc")]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize("family", ["t5", "mini", *SLOWER])
def test_the_estimate_is_near_the_measured_peak(family: str, tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / family, family, dim=512, n_heads=8)
    # A process of its own: what earlier tests freed would be used again and not be seen.
    done = subprocess.run([sys.executable, "-c", MEASURE, path, family], capture_output=True, text=True, check=True)
    # Wider than what was measured: the allocator keeps more or less of what is freed.
    assert 0.8 < float(done.stdout) < 2.5


def test_families_without_a_bias_need_memory_in_proportion_to_the_length() -> None:
    esm = EncoderSize(dim=32, inner=32, ff=128, n_heads=4, ff_copies=6, position_bias=False, fused=True)

    def needed(size: EncoderSize, length: int) -> int:
        return size.forward_bytes(1, length, padded=False, itemsize=4, on_gpu=False)

    assert needed(esm, 40_000) < 20 * needed(esm, 2_000)
    assert needed(T5, 40_000) > 100 * needed(T5, 2_000)


PROT_T5 = EncoderSize(dim=1024, inner=4096, ff=16384, n_heads=32, ff_copies=3, position_bias=True, fused=True)
PROT_T5_BYTES = 2 * 1_208_141_824


def budget_on(gpu_gib: float, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("embedstore.models.memory.total_bytes", lambda device: int(gpu_gib * 2**30))
    return plan_budget(PROT_T5, PROT_T5_BYTES, torch.device("cuda"), itemsize=2).residues


def test_the_budget_is_a_power_of_two_that_grows_with_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = [budget_on(gib, monkeypatch) for gib in (4, 8, 16, 24, 40, 80, 141)]
    assert budgets == sorted(budgets)
    assert (budgets[0], budgets[-1]) == (2_048, 65_536)
    assert all(budget.bit_count() == 1 for budget in budgets)
    # What a graphics card of 24 GiB takes is told apart from what a machine of a computing centre does.
    assert len(set(budgets)) > 3


def test_the_budget_fits_whatever_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for gib in (12, 16, 24, 40, 80):
        n = budget_on(gib, monkeypatch) // 1_024
        needed = PROT_T5.forward_bytes(n, 1_024, padded=True, itemsize=2, on_gpu=True)
        assert needed + PROT_T5_BYTES <= gib * 2**30


def test_on_a_cpu_the_budget_is_no_more_than_what_keeps_it_busy() -> None:
    assert plan_budget(T5, 0, CPU, itemsize=4) == (1_024, MAX_PARALLEL)
    assert plan_budget(T5, total_bytes(CPU), CPU, itemsize=4) == (256, 1)


@pytest.mark.parametrize("n_fitting", [1, 2, 5])
def test_no_more_batches_are_computed_at_once_than_fit_together(
    n_fitting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = T5.forward_bytes(1, 1_024, padded=True, itemsize=4, on_gpu=False)
    memory = int((n_fitting + 0.5) * one / USABLE_SHARE)
    monkeypatch.setattr("embedstore.models.memory.total_bytes", lambda device: memory)
    assert plan_budget(T5, 0, CPU, itemsize=4) == (1_024, n_fitting)


def test_every_layers_states_count_where_one_of_them_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_checkpoint(tmp_path / "esm", "esm", dim=32, n_layers=4)
    last, inner = (
        load_model(path, family="esm", device="cpu", precision="float32", layer=layer) for layer in (None, 2)
    )
    size = EncoderSize(dim=32, inner=32, ff=128, n_heads=4, ff_copies=6, position_bias=False, fused=True)
    needed = size.forward_bytes(1, 3_002, padded=False, itemsize=4, on_gpu=False)
    monkeypatch.setattr("embedstore.models.encoder_model.available_bytes", lambda _: int(needed / USABLE_SHARE) + 1)
    assert last.embed([b"M" * 3_000]).shape == (1, 32)
    with pytest.raises(OutOfMemoryError, match="needs about"):
        inner.embed([b"M" * 3_000])


def test_available_memory_is_no_more_than_the_machine_has() -> None:
    assert 0 < USABLE_SHARE * available_bytes(CPU) < psutil.virtual_memory().total


def write_group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_limits_of_a_control_group_and_of_its_parents_count(tmp_path: Path) -> None:
    process, mount = tmp_path / "cgroup", tmp_path / "mount"
    process.write_text("0::/job/step\n")
    stat = "anon 500\nactive_file 60\ninactive_file 40"
    write_group(mount / "job" / "step", memory__max="max", memory__current=600, memory__stat=stat)
    write_group(mount / "job", memory__max=1000, memory__current=700, memory__stat=stat)
    assert cgroup_limits(process, mount) == [400]


def test_limits_of_the_older_control_groups_count_too(tmp_path: Path) -> None:
    process, mount = tmp_path / "cgroup", tmp_path / "mount"
    process.write_text("3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n0::/\n")
    names = {"memory__usage_in_bytes": 700, "memory__stat": "inactive_file 1\ntotal_inactive_file 100"}
    # Inside a container its own group is the root of the mount, whatever path the host gave it.
    write_group(mount / "memory", memory__limit_in_bytes=1000, **names)
    assert cgroup_limits(process, mount) == [400]
    write_group(mount / "memory", memory__limit_in_bytes=9223372036854771712, **names)
    assert cgroup_limits(process, mount) == []


def test_a_full_group_has_no_room_and_no_group_has_no_limit(tmp_path: Path) -> None:
    process = tmp_path / "cgroup"
    assert cgroup_limits(process, tmp_path) == []
    process.write_text("0::/\n")
    write_group(tmp_path / "mount", memory__max=10, memory__current=20, memory__stat="anon 20")
    assert cgroup_limits(process, tmp_path / "mount") == [0]
