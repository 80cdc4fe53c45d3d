"""``fewseconds scan survey`` and ``scan law``: how decoders read media, and how long scans take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit, versions
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fixtures.surface import Surface
    from fixtures.survey import Part, Spec

DECODER_LIBRARIES = ("zxing-cpp", "pyzbar", "opencv-python-headless")


def scan_survey(
    names: Sequence[str],
    renders: int,
    seed: int,
    out: Path,
    workers: int,
    *,
    write: bool,
    as_json: bool,
) -> int:
    """Photograph and decode a designed sample, fit surfaces, write artefact, page and pictures."""
    state = commit()
    console.say(f"seed={seed} engine=camera commit={state}")
    from fixtures import media, surface, survey, survey_design, survey_fit

    for name in names:
        if name != media.SAME_PHONE:
            media.camera_medium(name)
    if write and not set(names or survey_design.SURVEYED) >= set(survey_design.SURVEYED):
        message = "--write: scenarios need every medium; leave --media out"
        raise UsageError(message)
    names = tuple(dict.fromkeys(names)) or survey_design.SURVEYED
    people = renders // survey.PEOPLE_ONE_IN
    spec = survey.Spec(seed, renders, surface.fingerprint(), people)
    begun_s = time.monotonic()
    with console.progress() as say:
        parts = survey.survey(
            spec, names, out / "parts", workers, lambda done: say("photographing", done)
        )
        fits = survey_fit.fits(spec, parts, lambda done: say("fitting", done))
        made = _artefact(spec, parts, fits, names, state)
        path = surface.save(made, str(out / "surface.json"))
        if write:
            path = surface.save(made, surface.SHIPPED)
        page = _page(spec, parts, made, out, say)
    wall_s = time.monotonic() - begun_s
    rows = [
        {"medium": medium, "decoder": decoder, "twin_correlation": fit.twin_correlation}
        | msgspec.to_builtins(fit.score)
        for medium, fits_ in made.fits.items()
        for decoder, fit in fits_.items()
    ]
    misread = sum(part.misread for part in parts)
    fields: dict[str, Any] = {
        "seed": seed, "engine": "camera", "commit": state, "renders": renders,
        "people": people, "media": list(names),
        "misread": misread, "wall_s": round(wall_s, 1), "core_s": made.core_s,
        "artefact": str(path), "page": str(page), "fits": rows,
    }  # fmt: skip
    if as_json:
        console.print_json(fields)
    else:
        _print(fields, rows)
    return 1 if misread else 0


def _artefact(
    spec: Spec, parts: list[Part], fits: dict[str, Any], names: Sequence[str], state: str
) -> Surface:
    """The artefact, its station tables computed from the fits."""
    from fixtures import scan_law, surface

    command = f"fewseconds scan survey --renders {spec.renders} --seed {spec.seed}"
    known = versions()
    made = surface.Surface(
        version=surface.VERSION,
        command=command,
        commit=state,
        seed=spec.seed,
        renders=spec.renders,
        core_s=round(sum(part.core_s for part in parts), 1),
        libraries={name: known[name] for name in DECODER_LIBRARIES},
        laws=surface.laws_hash(),
        camera=surface.camera_means(),
        fits=fits,
        stations={},
    )
    tables = scan_law.stations(made, names, spec.seed)
    return msgspec.structs.replace(made, stations=tables)


def _page(spec: Spec, parts: list[Part], made: Surface, out: Path, say: Any) -> Path:  # noqa: ANN401 - the progress
    """Contact sheets and the page of plots."""
    from fixtures import contact_sheet, survey_page

    sheets = contact_sheet.sheets(spec, parts, out, lambda done: say("contact sheets", done))
    return survey_page.write(made, sheets, out)


def _print(fields: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """A table of how well each surface foretells what it has not seen."""
    from rich.table import Table

    table = Table("medium", "decoder", "pictures", "read", "log-loss", "blind", "Brier", "blind",
                  "twins", box=None, padding=(0, 1))  # fmt: skip
    for row in rows:
        numbers = (row["log_loss"], row["log_loss_constant"], row["brier"], row["brier_constant"])
        table.add_row(
            row["medium"], row["decoder"], str(row["count"]), str(row["read"]),
            *(f"{number:.3f}" for number in numbers), f"{row['twin_correlation']:.2f}",
        )  # fmt: skip
    console.out.print(table)
    console.show(
        "log-loss and Brier of held-out pictures, beside those of the mere share; twins: how two "
        "pictures under one condition correlate beyond what the surface foretells"
    )
    console.show(
        f"{fields['misread']} misread; {fields['wall_s']:.0f} s, {fields['core_s']:.0f} processor "
        f"seconds of pictures; artefact {fields['artefact']}, page {fields['page']}"
    )


def scan_law(
    name: str, surface_name: str, people: int, rendered: int, *, write: bool, as_json: bool
) -> int:
    """How long scans take, four ways; ``write`` computes the artefact's stations anew."""
    scenario = console.load(name)
    fields = console.header(scenario, scenario.seed, "camera")
    from fixtures import scan_law as law
    from fixtures import scan_times, surface

    made = surface.load(surface_name)
    if write:
        tables = law.stations(made, tuple(made.fits), made.seed)
        made = msgspec.structs.replace(made, stations=tables, laws=surface.laws_hash())
        console.say(f"wrote {surface.save(made, surface_name)}")
        scenario = console.load(name)
    made.check()
    with console.progress() as say:
        rows = scan_times.compared(
            scenario, made.fits, people, rendered, lambda done: say("scanning", done)
        )
    if as_json:
        console.print_json(fields | {"people": people, "rendered": rendered, "rows": rows})
    else:
        _print_times(rows)
    return 1 if any(row["misread"] for row in rows) else 0


def _print_times(rows: list[dict[str, Any]]) -> None:
    """The times that scans take, a block a medium and scanner."""
    from rich.table import Table

    table = Table("medium", "scanner", "by", "people", "1st", "p50 s", "p90 s", "p99 s", "typed",
                  "frames", box=None, padding=(0, 1))  # fmt: skip
    for row in rows:
        seconds = ("typed" if row[key] is None else f"{row[key]:.2f}"
                   for key in ("p50_s", "p90_s", "p99_s"))  # fmt: skip
        people = str(row["people"]) if row["people"] else "all"
        table.add_row(
            row["medium"], row["scanner"], row["way"], people, f"{row['first_frame']:.3f}",
            *seconds, f"{row['typed']:.4f}", f"{row['frames']:.2f}",
        )  # fmt: skip
    console.out.print(table)
