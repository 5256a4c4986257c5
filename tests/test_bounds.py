"""What commands refuse in one line: too much, twice, not here; half letters are no error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fakes import fake_events, fake_run
from workbench.cli import main
from workbench.engine import Machine
from workbench.engine.machine import MachineError
from workbench.evaluate_config import EvaluateConfig
from workbench.evaluating import resume_evaluation, run_evaluations
from workbench.settings import ConfigError
from workbench.trace import RunError, find_runs, open_run, record
from workbench.trace.checkpoints import Checkpointing, Checkpoints
from workbench.trace.folder import EVALUATION_CHECKPOINTS, unseal

CELL = "Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)], normal_concat=[2])"
HALF = os.fsdecode(b"\xff\xfe")  # no UTF-8


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cost", CELL, "--size", "100000000000"), "--size must be 1 to 16,384"),
        (("cost", CELL, "--classes", "99999999999999999999"), "--classes must be 1 to 1,000,000"),
        (("cost", CELL, "--cells", "1001"), "--cells must be 1 to 1,000"),
        (("cost", CELL, "--in-channels", "0"), "--in-channels must be 1 to 65,536"),
        (("check", "folder:.", "--image-size", "100000"), "--image-size must be 1 to 16,384"),
        (("search", "--data", "folder:.", "--image-size", "0"), "--image-size"),
        (("evaluate", "r", "--seeds", "99999999999"), "--seeds must be 1 to 10,000"),
        (("evaluate", "r", "--seed", "4294967295", "--seeds", "2"), "--seeds must be 1 to 1 "),
        (("search", "--device", "meta"), "device 'meta' is not to be had here"),
        (("search", "--device", "privateuseone"), "is not to be had here"),
        (("search", "--resume"), "--resume needs a value after it"),
        (("search", "--data", f"folder:{HALF}"), "holds a character that no path can have"),
        (("check", f"folder:{HALF}"), "holds a character that no path can have"),
    ],
)
def test_too_much_is_refused_with_its_bound(capsys, words: tuple[str, ...], said: str) -> None:
    assert said in refusal(capsys, *words)


def test_a_device_that_only_describes_tensors_is_none() -> None:
    with pytest.raises(MachineError, match="there is cpu"):
        Machine("meta").torch_device  # noqa: B018


def test_a_setting_stands_once_in_a_file(tmp_path: Path, capsys) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("epochs: 1\nseed: 3\nepochs: 2\n", encoding="utf-8")
    assert "'epochs' stands again in line 3; keep one" in refusal(
        capsys, "search", "--config", str(file)
    )


def test_every_seed_is_checked_before_any_is_trained(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=False)
    with pytest.raises(ConfigError, match="seed"):
        run_evaluations(run.path, EvaluateConfig(), [0, 2**32])
    assert not find_runs([run.path])[0].evaluations


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"recipe": 3, "epochs_bytes": 0},
        {"recipe": {"seed": "x"}, "epochs_bytes": 0},
        {"recipe": {"seed": 0}, "epochs_bytes": "0"},
        {"recipe": {"seed": 0}, "epochs_bytes": 0},
        {"recipe": {"seed": 0}, "epochs_bytes": 0, "note": {"config": 1, "then": []}},
        {"recipe": {"seed": 0}, "epochs_bytes": 0, "note": {"config": {}, "then": "1"}},
        {"recipe": {"seed": 0}, "epochs_bytes": 0, "note": {"config": {}, "then": [True]}},
        {"recipe": {"seed": "3"}, "epochs_bytes": 0},  # as others may have written it
    ],
)
def test_a_state_that_does_not_say_where_the_evaluation_stood_is_refused(tmp_path: Path, facts):
    run = fake_run(tmp_path / "run", evaluated=False)
    saved = Checkpoints(run.path / EVALUATION_CHECKPOINTS, Checkpointing())
    saved.path.parent.mkdir(exist_ok=True)
    saved.write(lambda stream: None, {"record": facts, "clock": {"stage": 0, "epoch": 0}})
    with pytest.raises(
        RunError, match=r"checkpoint_0.json .*; remove .*checkpoints to begin it again"
    ):
        resume_evaluation(run.path)


def test_half_letters_are_recorded_and_read_as_letters(tmp_path: Path) -> None:
    meta = {"method": f"m{HALF}", "note": {HALF: [HALF, "ü → 😀"]}}
    list(record(fake_events(), tmp_path / "run", meta=meta))
    run = open_run(tmp_path / "run")
    assert run.named("method") == "m��"
    assert run.meta["note"] == {"��": ["��", "ü → 😀"]}
    assert unseal(b'{"a": "\\ud83d\\ude00 \\ud83d"}', "here", required=False) == {"a": "😀 �"}
    with pytest.raises(RunError, match="no JSON"):
        unseal(b'{"a": "\xed\xa0\x80"}', "here", required=False)


def test_images_whose_names_are_no_utf8_are_searched_and_trained(tmp_path: Path, capsys) -> None:
    pixels = np.random.default_rng(0)
    for kind in ("a", HALF):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for index in range(12):
            image = Image.fromarray(pixels.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            image.save(tmp_path / "images" / kind / f"{index}.png")
    (tmp_path / "images" / "a" / f"{HALF}.png").write_bytes(b"abc")
    run, data = tmp_path / "run", f"folder:{tmp_path / 'images'}"
    sizes = ["--image-size", "8", "--batch-size", "4", "--channels", "2", "--cells", "1"]
    also = ["--nodes", "1", "--epochs", "1", "--skip-unreadable", "--method", "darts_small"]
    with pytest.warns(UserWarning, match="They are left out"):
        main(["search", "--data", data, "--out", str(run), *sizes, *also])
    with pytest.warns(UserWarning, match="They are left out"):
        main(["evaluate", str(run), "--epochs", "1", *sizes[2:]])
    found: Any = open_run(run).meta["data"]
    assert found["classes"] == ["a", "��"]
    assert found["left_out_first"] == ["a/��.png"]
    (evaluation,) = open_run(run).evaluations
    assert evaluation["classes"] == ["a", "��"]
    with pytest.raises(SystemExit):
        main(["check", data])
    assert "��" in capsys.readouterr().out
