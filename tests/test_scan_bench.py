"""The benchmark of the scan lab measures its anchors itself and says what it stands on."""

from __future__ import annotations

import statistics

import pytest

from fewseconds.commands.scan_bench import headline
from fixtures import bench, bench_effects, media


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark of the least size: what it finds does not matter here."""
    sizes = ("_SEGNO_FREE", "_SEGNO_FIXED", "_FRAMES", "_FRAMES_FULL", "_FRAMES_THEIRS")
    for name in (*sizes, "_LINKS", "_PICTURES_A_MEDIUM"):
        monkeypatch.setattr(bench, name, 1)
    monkeypatch.setattr(bench, "_MATRICES", 8)


def silent(_: str, __: float) -> None:
    """Nobody watches."""


@pytest.mark.usefixtures("small")
def test_every_ratio_is_that_of_two_rates_of_the_run() -> None:
    """Each line's ratio is its rate over its anchor's, and the headline repeats the lines'."""
    done = bench.bench(7, 1, silent)
    assert {line.group for line in done.lines} == {"matrices", "frames", "effects", "decodes"}
    for line in done.lines:
        assert line.rate.per_s_min <= line.rate.per_s <= line.rate.per_s_max
        if line.anchor_rate is not None:
            assert line.ratio == pytest.approx(line.rate.per_s / line.anchor_rate.per_s, abs=0.001)
    said = headline(done)
    assert said["matrices_ratio_to_segno"] == done.lines[0].ratio
    assert said["decodes_ratio_to_zxing_cpp"] == done.lines[-1].ratio
    assert done.versions["segno"]
    assert int(done.machine["cores"]) >= 1


@pytest.mark.usefixtures("small")
def test_without_albumentations_its_ratios_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed the lines have no ratio, but a sentence."""
    for place in (bench, bench_effects):
        monkeypatch.setattr(place, "albumentations", lambda: None)
    done = bench.bench(7, 1, silent)
    shared = [line for line in done.lines if line.name in {"perspective", "these seven in a row"}]
    assert [(line.ratio, line.anchor) for line in shared] == [(None, None)] * 2
    assert "not installed" in shared[0].note
    assert headline(done)["frames_ratio_to_albumentations"] is None


def test_a_rate_is_the_median_of_the_repeats_after_the_first() -> None:
    """The first turn warms up; the median and range of the others are what is said."""
    taken = iter([9.0, 0.5, 0.1, 0.25, 0.2, 0.125])
    found = bench.measured({"work": lambda: next(taken)}, 5, lambda _: None)["work"]
    rates = [2.0, 10.0, 4.0, 5.0, 8.0]
    assert (found.per_s, found.per_s_min, found.per_s_max) == (
        statistics.median(rates), min(rates), max(rates),
    )  # fmt: skip


def test_all_effects_are_all_and_core_effects_none_of_the_rest() -> None:
    """Every strength of a condition is there in one and absent, beyond the core, in the other."""
    drawn = media.condition("laser_print", 7, 1, 1, 69)
    strengths = (
        "line_s", "shadow", "glare", "flicker", "grid_px", "curl_per_module", "crease", "stain",
        "fading", "head_banding", "clutter", "sharpening",
    )  # fmt: skip
    whole, core = bench_effects.all_effects(drawn), bench_effects.core_effects(drawn)
    assert all(getattr(whole, strength) for strength in strengths)
    assert not any(getattr(core, strength) for strength in strengths)
    assert (core.defocus_modules, core.lux) == (drawn.defocus_modules, drawn.lux)
