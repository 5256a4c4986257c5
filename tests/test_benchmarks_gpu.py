"""What the benchmarks of a GPU count, read and decide, as far as it can be told without one."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from tests.scripts import ROOT, ran
from workbench import Machine, darts, nasbench201
from workbench.engine.geometry import Geometry
from workbench.engine.layout import layout
from workbench.pruning import count_weights
from workbench.spaces.space import Space

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a module of the benchmarks, which find each other as scripts do."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


# --- variants -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grown:
    """A machine with every setting that a variant may name, and a GPU that it never asks for."""

    device: str = "cuda"
    engine: str = "auto"
    precision: str = "float32"
    graphs: bool = False
    fused: bool = False
    channels_last: bool = False

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda")


def test_every_usual_variant_is_a_machine_of_its_own(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = load("_variants")
    monkeypatch.setattr(variants, "Machine", Grown)
    row = load("_cases").rows(quick=True, batch=2, on_gpu=True)[0]
    trials = {name: variants.Trial(name, row, 1.0, Grown(), None) for name in variants.VARIANTS}
    assert all(trial.failure is None for trial in trials.values())
    machines = {name: trial.case.machine for name, trial in trials.items()}
    assert len(set(machines.values())) == len(machines)
    assert machines["fast"] == Grown()
    assert machines["fast graphs"] == Grown(graphs=True, fused=True)
    assert machines["fast triton"] == Grown(engine="triton", graphs=True, fused=True)
    on = Grown(engine="triton", precision="bfloat16", graphs=True, fused=True)
    assert machines["everything on"] == on
    assert all(trial.case.variant == name for name, trial in trials.items())
    for usual in variants.USUAL.values():
        assert usual[:2] == ("readable", "fast")
        assert set(usual) <= variants.VARIANTS.keys()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fast", "fast graphs", "fast triton", "everything on"])
def test_this_machine_knows_the_variants_of_a_gpu(load: Load, name: str) -> None:
    row = load("_cases").rows(quick=True, batch=2, on_gpu=True)[0]
    assert load("_variants").Trial(name, row, 1.0, Machine("cuda"), None).failure is None


def test_a_variant_that_fails_says_so_and_the_others_go_on(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step, variants, cases = load("step"), load("_variants"), load("_cases")

    class Broken(cases.Search):
        def step(self) -> None:
            if self.case.variant == "batched":
                raise RuntimeError("no kernel\nand more about it")
            super().step()

    monkeypatch.setattr(variants, "Search", Broken)
    monkeypatch.setattr(variants, "peak", len)  # a process of its own would not break
    monkeypatch.setattr(variants.Trial, "_submit", _here(variants))
    row = cases.Row("small", "darts", darts(channels=2, cells=1, nodes=2), 8, 4)
    monkeypatch.setattr(step, "rows", lambda **_: [row])
    names = ["readable", "batched", "fast"]
    monkeypatch.setattr(
        sys,
        "argv",
        ["step.py", "--device", "cpu", "--json", "--repeats", "1", "--variants", *names],
    )
    assert step.main() == 1
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert [each["variant"] for each in told["rows"]] == ["readable", "fast"]
    assert [(each["variant"], each["error"]) for each in told["failed"]] == [
        ("batched", "RuntimeError: no kernel")
    ]
    assert "failed: RuntimeError: no kernel" in said.err
    assert "and more about it" in said.err  # in the traceback


def _here(variants: ModuleType) -> Callable[[object], None]:
    """`Trial._submit` without another process."""
    usual = variants.Trial._submit

    def submit(trial) -> None:
        trial._pool = None
        usual(trial)

    return submit


def test_a_gpu_that_is_lost_ends_all_variants_of_its_row(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = load("_variants")
    monkeypatch.setattr(variants.Trial, "on_gpu", property(lambda trial: True))
    monkeypatch.setattr(variants.Trial, "warm_up", lambda trial: {}[trial.name])
    monkeypatch.setattr(variants, "device_works", lambda: False)
    row = load("_cases").rows(quick=True, batch=2, on_gpu=True)[0]
    told, trials = variants.measured(["readable", "fast"], row, 1.0, Machine("cpu"), 1, None)
    assert [trial.lost for trial in trials] == [True, False]
    assert [each["error"] for each in told] == [
        "KeyError: 'readable'", "the GPU was lost to 'readable'",
    ]  # fmt: skip


def test_rows_that_time_does_not_allow_are_named(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["step.py", "--device", "cpu", "--quick", "--minutes", "-1"])
    assert load("step").main() == 0
    said = capsys.readouterr().out
    assert "left out: darts C=16 L=3 16x16 first order, batch 8, 25% alive" in said


# --- what a step has to do ----------------------------------------------------------------------

SPACES = [(darts(channels=4, cells=4, nodes=3), 8), (nasbench201(channels=4, cells_per_stage=1), 8)]


def _grouped_backward(grad, x, w, bias, stride, padding, dilation, transposed, out_pad, groups,
                      wanted, out_shape=None, **_) -> int:  # fmt: skip
    """Torch's own counts the gradient of a grouped weight as if there were no groups."""
    return conv_flop_count(x, w, grad) * (wanted[0] + wanted[1])


@pytest.mark.parametrize(("space", "side"), SPACES, ids=["darts", "nasbench201"])
def test_operations_are_those_that_torch_counts(load: Load, space: Space, side: int) -> None:
    cases, limits = load("_cases"), load("_limits")
    row = cases.Row("small", "darts", space, side, 4)
    search = cases.Search(cases.Case(row, 1.0, Machine("cpu", engine="batched")))
    backward = {torch.ops.aten.convolution_backward: _grouped_backward}
    with FlopCounterMode(display=False, custom_mapping=backward) as counter:
        search.step()
    parts = limits.work(space, 4, side)
    counted = sum(sum(limits.flops(parts, update).values()) for update in ("arch", "weights"))
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.01)
    weights = sum(part.weights for part in parts)
    affine = count_weights(search.run.net) - weights  # scales, shifts and biases are not counted
    assert 0 < affine < 0.01 * weights + 200


def test_memory_is_counted_map_by_map(load: Load) -> None:
    limits = load("_limits")
    maps = [
        limits.Work("ordinary", numbers=100, live=False, first=True),
        limits.Work("pointwise", numbers=10, live=False, mixed=True, weights=7),
        limits.Work("map", numbers=1),
    ]
    alpha, weight = 2 * 100 + 3 * 10 + 5 * 1, 5 * 111
    assert limits.least_bytes(maps, 4) == 4 * (alpha + weight) + 4 * 10 * 7
    assert limits.least_bytes(maps, 2) == 2 * (alpha + weight) + 4 * 10 * 7


def test_a_step_takes_no_more_maps_than_the_kernels_hold(load: Load) -> None:
    """A cell's operations' outputs, in front of their norms, are those of its geometry."""
    limits = load("_limits")
    space = darts(channels=4, cells=1, nodes=2)
    layer = space.layers[0]
    shape, c = space.cell(layer.kind), layer.channels
    packed = layout(shape, c, layer.reduction, space.family, shape.ops)
    geometry = Geometry(packed, 4, 8, 8, 1)
    shared = 4 * 64 * (space.stem_channels + c + c) + 2 * geometry.node_map  # the rest: two nodes
    numbers = sum(part.numbers for part in limits.work(space, 4, 8))
    assert numbers == shared + geometry.size


def test_shares_of_limits_are_of_the_variants_precision(load: Load) -> None:
    limits = load("_limits")
    parts = limits.work(darts(channels=4, cells=2), 2, 8)
    machine = {"float32": 1e12, "bfloat16": 4e12, "copy": 1e11}
    exact = limits.reached(parts, 0.5, "float32", machine)
    rounded = limits.reached(parts, 0.5, "bfloat16", machine)
    assert exact["share_of_flops"] == pytest.approx(4 * rounded["share_of_flops"])
    assert exact["share_of_flops"] == pytest.approx(exact["flops"] / 0.5 / 1e12)
    assert rounded["bytes"] < exact["bytes"] < 2 * rounded["bytes"]


# --- traces -------------------------------------------------------------------------------------

KERNELS = {
    "void at::native::(anonymous namespace)::conv_depthwise2d_forward_kernel<3, float>(...)":
        "depthwise convolution",
    "void wgrad2d_c1_k1_nhwc_kernel<float>": "depthwise convolution",
    "void cudnn::cnn::conv2d_grouped_direct_kernel<false, float>": "depthwise convolution",
    "sm90_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc": "pointwise and matmul",
    "nvjet_hsh_128x128_64x5_1x2_h_bz_NNT": "pointwise and matmul",
    "void cutlass__5x_cudnn::Kernel<cutlass_80_tensorop_s1688dgrad_optimized_tf32>":
        "pointwise and matmul",
    "ampere_sgemm_32x128_tn": "pointwise and matmul",
    "void at::native::batch_norm_backward_reduce_kernel<float>": "batch norm",
    "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float>": "batch norm",
    "cudnn::batchnorm_bwtr_nhwc_semiPersist": "batch norm",
    "void at::native::(anonymous namespace)::max_pool_backward_nhwc<float>": "pooling",
    "void at::native::avg_pool2d_out_cuda_frame<float>": "pooling",
    "void at::native::vectorized_elementwise_kernel<4, CUDAFunctor_add<float> >":
        "mixing and elementwise",
    "void at::native::reduce_kernel<512, 1, ReduceOp<float, sum> >": "mixing and elementwise",
    "void at::native::unrolled_elementwise_kernel<direct_copy_kernel_cuda>": "copies and layout",
    "void cudnn::engines_precompiled::nchwToNhwcKernel<float>": "copies and layout",
    "void at::native::(anonymous namespace)::CatArrayBatchedCopy<float>": "copies and layout",
    "Memcpy DtoD (Device -> Device)": "copies and layout",
    "Memset (Device)": "copies and layout",
    "void at::native::multi_tensor_apply_kernel<FusedSgdMathFunctor<float> >": "optimizers",
    "void at::native::multi_tensor_apply_kernel<LpNormFunctor<float> >": "optimizers",
    "void random_crop(int)": "other",
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernels_group_is_told_from_its_name(load: Load, name: str) -> None:
    assert load("_trace").group(name) == KERNELS[name]


def test_our_own_kernels_have_groups(load: Load) -> None:
    found = set()
    for path in (ROOT / "workbench" / "engine" / "gpu").glob("*.py"):
        found |= set(re.findall(r"^ +(_\w+)\[", path.read_text("utf-8"), re.MULTILINE))
    groups = {name: load("_trace").group(name) for name in sorted(found)}
    assert groups == {
        "_mix": "mixing and elementwise",
        "_mix_gradient": "mixing and elementwise",
        "_mix_sums": "mixing and elementwise",
        "_norm_coefficients": "batch norm",
        "_norm_moments": "batch norm",
        "_norm_statistics": "batch norm",
        "_pool": "pooling",
        "_pool_back": "pooling",
        "_separable": "depthwise convolution",
        "_separable_matrix": "depthwise convolution",
        "_separable_taps": "depthwise convolution",
    }


def _event(kind: str, name: str, began: float, lasted: float) -> dict[str, object]:
    return {"ph": "X", "cat": kind, "name": name, "ts": began, "dur": lasted}


def test_a_trace_counts_launches_kernels_and_time_once(load: Load) -> None:
    trace = load("_trace")
    found = trace.read(
        [
            {"ph": "M", "name": "process_name", "ts": 0.0},
            _event("cpu_op", "aten::mm", 0, 90),
            _event("cuda_runtime", "cudaLaunchKernel", 1, 2),
            _event("cuda_runtime", "cudaGraphLaunch", 4, 2),
            _event("cuda_driver", "cuLaunchKernelEx", 8, 2),
            _event("cuda_runtime", "cudaStreamSynchronize", 12, 90),
            _event("gpu_user_annotation", "step", 0, 900),
            _event("kernel", "sgemm", 10, 20),
            _event("kernel", "sgemm", 20, 20),  # half of it beside the first
            _event("kernel", "add_elementwise_kernel", 100, 5),
            _event("gpu_memset", "Memset (Device)", 102, 5),
        ],
        steps=2,
    )
    assert (found.launches, found.runs) == (3, 4)
    assert found.busy == pytest.approx(37e-6)
    assert found.total == pytest.approx(50e-6)
    assert found.groups() == pytest.approx(
        {"pointwise and matmul": 0.8, "mixing and elementwise": 0.1, "copies and layout": 0.1}
    )
    assert found.top(1)[0] == ("sgemm", pytest.approx(40e-6), 2)
    lines = trace.shown(found, 37e-6)
    assert lines[0].startswith(
        "2 launches and 2 kernels a step; the GPU works 0.02 of 0.04 ms, 50%"
    )
    assert trace.as_json(found, 37e-6)["busy"] == pytest.approx(0.5)


@pytest.mark.parametrize("file", ["trace.json", "trace.json.gz"])
def test_a_profilers_own_trace_is_read(load: Load, tmp_path: Path, file: str) -> None:
    trace, cases = load("_trace"), load("_cases")
    row = cases.Row("small", "darts", darts(channels=2, cells=1, nodes=2), 8, 4)
    search = cases.Search(cases.Case(row, 1.0, Machine("cpu", engine="batched")))
    found = trace.traced(search, 1, tmp_path / file)
    assert (found.steps, found.kernels) == (1, {})  # no GPU's, that is
    assert trace.shown(found, 1.0) == ["no kernel is in the trace"]
    names = {event.get("name") for event in trace.events(tmp_path / file)}
    assert "aten::convolution" in names


@pytest.mark.gpu
def test_a_gpus_trace_has_kernels_of_known_groups(load: Load) -> None:
    trace, cases = load("_trace"), load("_cases")
    row = cases.rows(quick=True, batch=8, on_gpu=True)[0]
    search = cases.Search(cases.Case(row, 1.0, Machine("cuda")))
    search.warm_up()
    found = trace.traced(search, 2)
    assert found.runs >= found.launches > 0
    assert 0 < found.busy <= found.total
    assert found.groups().get(trace.OTHER, 0.0) < 0.2, found.top(20)


# --- the largest batch --------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, 2, 63, 64, 65, 1000, 3217, 10**6])
@pytest.mark.parametrize(("first", "factor"), [(64, 2.0), (900, 1.05), (1, 2.0), (5000, 1.05)])
def test_the_largest_that_fits_is_found_to_5_percent(
    load: Load, limit: int, first: int, factor: float
) -> None:
    batches = load("_batches")
    tried: list[int] = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= limit

    best = batches.largest(fits, first, factor)
    limit = min(limit, batches.MOST)
    assert 0.95 * limit - 1 <= best <= limit
    assert best == 0 or best in tried
    assert len(set(tried)) == len(tried) <= 22


def test_a_good_guess_takes_few_trials(load: Load) -> None:
    tried: list[int] = []
    best = load("_batches").largest(lambda n: not tried.append(n) and n <= 1000, 960, 1.05)
    assert 950 <= best <= 1000
    assert len(tried) <= 3


def test_memory_that_ran_out_is_known_through_what_hides_it(load: Load) -> None:
    hidden = RuntimeError("capture failed")
    hidden.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    out_of_memory = load("_batches").out_of_memory
    assert out_of_memory(hidden)
    assert not out_of_memory(RuntimeError("capture failed"))


class Process:
    """Of those that `largest_batch` asks: 100 bytes a picture, and an error above 1,500."""

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was begun."""

    def submit(self, work, case) -> Process:
        self.batch = case.row.batch
        return self

    def result(self) -> tuple[int | None, int]:
        if self.batch > 1500:
            raise RuntimeError("an index is too large")
        return 100 * self.batch, 10**6


@pytest.mark.parametrize(("usual", "best"), [(64, 1500), (2000, 0)])
def test_another_error_than_of_memory_is_shown_beside_what_works(
    load: Load, monkeypatch: pytest.MonkeyPatch, usual: int, best: int
) -> None:
    batches, cases = load("_batches"), load("_cases")
    monkeypatch.setattr(batches, "processes", Process)
    row = cases.rows(quick=True, batch=usual, on_gpu=True)[0]
    found = batches.largest_batch(cases.Case(row, 1.0, Machine("cpu")))
    assert found["error"] == "RuntimeError: an index is too large"
    assert found["bytes"][usual] == (6400 if best else None)
    assert 0.95 * best <= found["batch"] <= best


# --- all of it ----------------------------------------------------------------------------------


def test_the_benchmark_of_a_gpu_runs_without_one_and_says_what_it_leaves_out() -> None:
    options = "--quick --device cpu --batch 2 --repeats 1 --variants fast --json".split()
    done = ran("gpu.py", options)
    told = json.loads(done.stdout)
    assert [(row["variant"], row["ratio"]) for row in told["rows"]] == [("fast", None)]
    assert told["limits"]["machine"].keys() == {"float32", "bfloat16", "copy"}
    assert 0 < told["limits"]["variants"]["fast"]["share_of_flops"] < 1
    assert told["left_out"] == {
        "trace of fast": "it needs a GPU", "largest batch of fast": "it needs a GPU",
    }  # fmt: skip
    assert "trace of fast: left out, it needs a GPU" in done.stderr
