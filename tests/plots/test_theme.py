from __future__ import annotations

import itertools

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from plotly.subplots import make_subplots

from workbench.parts.morphisms import DARTS_LIKE, DEPTH_RESTRICTED, UNRESTRICTED, Primitives
from workbench.plots import theme
from workbench.spaces import darts, nasbench201
from workbench.spaces.genotype import KNOWN_OPS
from workbench.spaces.morph_ops import Limits, separable


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# Linear RGB as who lacks one kind of cone sees it: Machado et al. (2009), severity 1.0.
SEEN = {
    "by all cones": np.eye(3),
    "without red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "without green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
}  # fmt: skip


def cielab(colour: str, seen: np.ndarray) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
         [0.0193339, 0.1191920, 0.9503041]]
    )  # fmt: skip
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize("ops", [darts.OPS, nasbench201.OPS])
def test_colours_are_told_apart_without_a_kind_of_cone(ops: tuple[str, ...], seen) -> None:
    colours = [cielab(theme.colour(op), seen) for op in ops]
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)]
    assert min(gaps) >= 15


@pytest.mark.parametrize("page", ["#FFFFFF", "#111111"])
def test_every_colour_can_be_seen_on_light_and_dark(page: str) -> None:
    colours = [*theme.COLOURS.values(), *theme.SERIES, theme.INK["both"]]
    assert min(contrast(colour, page) for colour in colours) >= 3


def test_every_known_operation_has_a_colour() -> None:
    assert set(KNOWN_OPS) <= set(theme.COLOURS)


@pytest.mark.parametrize("ops", [darts.OPS, nasbench201.OPS])
def test_colours_differ_within_a_space(ops: tuple[str, ...]) -> None:
    assert len({theme.colour(op) for op in ops}) == len(ops)


MORPHED = [
    f"sep_conv_{side}x{side}{dilated}_x{layers}"
    for side in (3, 5, 7)
    for dilated in ("", "_d2", "_d3")
    for layers in (1, 2, 3)
]


@pytest.mark.parametrize("page", ["#FFFFFF", "#111111"])
def test_operations_of_no_table_are_told_apart_too(page: str) -> None:
    looks = {(theme.colour(op), theme.dash(op)) for op in [*darts.OPS, *MORPHED]}
    assert len(looks) == len(darts.OPS) + len(MORPHED)
    own = [f"my_op_{number}" for number in range(40)]
    assert len({theme.colour(op) for op in own}) > 10
    assert min(contrast(theme.colour(op), page) for op in [*own, *MORPHED]) >= 3


def grown(limits: Limits, cycles: int = 9) -> list[str]:
    """Every operation that PR-DARTS can have met in so many cycles."""
    convolutions = {found for op in Primitives().ops if (found := separable(op))}
    for _ in range(cycles):
        convolutions |= {new for one in convolutions for new in one.morphs(limits).values()}
    return sorted({one.name for one in convolutions} | set(Primitives().ops))


@pytest.mark.parametrize(
    ("limits", "count"), [(DARTS_LIKE, 15), (DEPTH_RESTRICTED, 45), (UNRESTRICTED, 400)]
)
def test_operations_that_grow_beside_each_other_differ_in_colour(limits: Limits, count: int):
    ops = grown(limits)
    assert len(ops) >= count
    assert len({theme.colour(op) for op in ops}) == len(ops)
    for page in ("#FFFFFF", "#111111"):
        assert min(contrast(theme.colour(op), page) for op in ops) >= 3


@pytest.mark.parametrize("limits", [DARTS_LIKE, DEPTH_RESTRICTED])
def test_colours_of_what_grows_are_told_apart_by_all_cones(limits: Limits) -> None:
    colours = [cielab(theme.colour(op), SEEN["by all cones"]) for op in grown(limits)]
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)]
    assert min(gaps) >= 15


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize("cue", [theme.dash, theme.pattern, theme.symbol])
def test_where_a_colour_does_not_suffice_something_else_differs(cue, seen) -> None:
    ops = grown(DEPTH_RESTRICTED)
    seen_as = {op: cielab(theme.colour(op), seen) for op in ops}
    for one, other in itertools.combinations(ops, 2):
        apart = np.linalg.norm(seen_as[one] - seen_as[other]) >= 14
        assert apart or cue(one) != cue(other), (one, other)


def test_published_operations_have_plain_areas() -> None:
    assert {theme.pattern(op) for op in (*darts.OPS, *nasbench201.OPS)} == {""}


def test_none_and_skip_have_dashes_of_their_own() -> None:
    dashes = [theme.dash(op) for op in darts.OPS]
    assert dashes.count(theme.dash("none")) == dashes.count(theme.dash("skip_connect")) == 1


def test_ticks_stand_at_whole_epochs() -> None:
    assert [theme.epoch_tick(epochs) for epochs in (1, 2, 12, 13)] == [1, 1, 1, None]
    assert theme.epoch_tick(9, room=6) is None


def test_figures_do_not_offer_to_upload_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = pio.renderers["plotly_mimetype"]
    for shell, buttons in (
        (None, {}),
        (object(), {"showSendToCloud": False, "displaylogo": False}),
    ):
        monkeypatch.setattr(shown, "config", {})
        monkeypatch.setattr("IPython.get_ipython", lambda shell=shell: shell)
        theme.styled(go.Figure(), title="a figure")
        assert shown.config.items() >= buttons.items()
        assert bool(shown.config) == bool(buttons)


def test_thinning_keeps_ends_and_extremes() -> None:
    y = np.random.default_rng(0).normal(size=20_000).cumsum()
    kept = theme.thin(np.arange(len(y)), y, 150)
    assert len(kept) <= 152
    assert {0, len(y) - 1, int(y.argmin()), int(y.argmax())} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


def test_a_spike_of_one_step_survives_thinning() -> None:
    y = np.zeros(20_000)
    y[12_345] = 1.0
    assert 12_345 in theme.thin(np.arange(len(y)), y, 150)


def test_short_curves_are_not_thinned() -> None:
    assert theme.thin(np.arange(9), np.ones(9), 150).tolist() == list(range(9))
    assert len(theme.thin(np.arange(900), np.ones(900), None)) == 900
    assert len(theme.thin(np.arange(0), np.ones(0), 150)) == 0


def test_a_note_sits_in_the_middle_of_its_panel() -> None:
    fig = theme.note(make_subplots(rows=1, cols=2), "nothing", row=1, col=2)
    low, high = fig.layout.xaxis2.domain
    assert fig.layout.annotations[0].x == pytest.approx((low + high) / 2)
    assert fig.layout.xaxis2.visible is False
    assert fig.layout.xaxis.visible is None
    assert theme.note(go.Figure(), "nothing").layout.annotations[0].x == 0.5


def test_templates_are_transparent() -> None:
    for page in ("light", "dark", "both"):
        layout = theme.template(page).layout
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert layout.font.color == theme.INK[page]
