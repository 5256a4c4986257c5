from pathlib import Path

from workbench.trace.checkpoints import Checkpointing, Checkpoints, remove


def test_what_a_killed_writer_left_of_a_checkpoint_goes(tmp_path: Path):
    path = tmp_path / "checkpoints"
    path.mkdir()
    (path / ".checkpoint_3.pt.4711.part").write_bytes(b"half a state")
    Checkpoints(path, Checkpointing()).begin()
    remove(path)
    assert not path.exists()
