"""The commands of ``fewseconds scan``: photographs and decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewseconds.cli_frame import Json, Name, Seed
from fewseconds.cli_frame import carry_out as _carry_out

scan_app = typer.Typer(help="Photograph and decode the QR codes of bills.", no_args_is_help=True)


@scan_app.command("survey")
def scan_survey(
    media: Annotated[
        list[str] | None,
        typer.Option(help="Only this medium; may be repeated. All of them if not given."),
    ] = None,
    renders: Annotated[
        int, typer.Option(help="Pictures a medium.", min=160, max=1_000_000)
    ] = 12_000,
    seed: Annotated[int, typer.Option(help="Seed of the sample.", min=0, max=2**63 - 1)] = 1,
    out: Annotated[
        Path, typer.Option(help="Folder for parts, artefact, page and pictures.")
    ] = Path("results/survey"),
    workers: Annotated[int, typer.Option(help="Processes.", min=1, max=256)] = 2,
    write: Annotated[
        bool, typer.Option("--write", help="Also replace the artefact that scenarios read.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Survey how decoders read media: photograph a designed sample and fit surfaces to it.

    A survey that was interrupted goes on where it ended. Exit code 1 if anything was misread.
    """
    from fewseconds.commands.survey import scan_survey as command

    _carry_out(
        lambda: command(media or [], renders, seed, out, workers, write=write, as_json=as_json),
        as_json=as_json,
        folders={"--out": out},
    )


@scan_app.command("law")
def scan_law(
    scenario: Name = "mumbai",
    surface: Annotated[
        str, typer.Option(help="Artefact of a survey: a shipped name or a path.")
    ] = "camera-1",
    people: Annotated[
        int, typer.Option(help="People that surface and draws are followed through.", min=1)
    ] = 2000,
    rendered: Annotated[
        int, typer.Option(help="People a medium and scanner who really scan.", min=0)
    ] = 100,
    write: Annotated[
        bool, typer.Option("--write", help="Compute the artefact's camera stations anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how long scans take: by the surface, by the engines' law, and by really scanning."""
    from fewseconds.commands.survey import scan_law as command

    _carry_out(
        lambda: command(scenario, surface, people, rendered, write=write, as_json=as_json),
        as_json=as_json,
    )


@scan_app.command("evaluate")
def scan_evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.", metavar="FOLDER")],
    negatives: Annotated[
        list[Path] | None,
        typer.Option(help="A folder in it whose pictures show no QR code; may be repeated."),
    ] = None,
    decoder: Annotated[
        list[str] | None,
        typer.Option(help="Only this decoder beside the cascade; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Have every decoder, and all of them as a cascade, read the photographs in a folder.

    What a code says stands beside its picture: 01.png, 01.txt (UTF-8, compared byte for byte but
    for line ends). Without it, a picture can be read or unread but not misread. Pictures in folders
    whose names begin with falsepositives, negatives, no-qr or without-qr show no code, nor do those
    with an empty text; folders whose names begin with unsupported are left out.
    """
    from fewseconds.commands.scan import scan_evaluate as command

    _carry_out(
        lambda: command(folder, negatives or [], decoder or [], as_json=as_json), as_json=as_json
    )


@scan_app.command("stages")
def scan_stages(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Photographs; otherwise simulated ones.", metavar="[FOLDER]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated photographs.", min=0)] = 1,
    pictures: Annotated[int, typer.Option(help="Simulated ones with a code.", min=0)] = 340,
    without_codes: Annotated[int, typer.Option(help="Simulated ones without.", min=0)] = 0,
    megapixels: Annotated[float, typer.Option(min=0.2, max=16)] = 1.2,
    as_json: Json = False,
) -> None:
    """Print what each stage of the cascade reads of what zxing-cpp does not, and what it costs.

    The simulated photographs are of 17 kinds: small, curved, shadowed, damaged codes and so on. A
    folder has the layout of `fewseconds scan evaluate`.
    """
    from fewseconds.commands.scan_stages import scan_stages as command

    _carry_out(
        lambda: command(folder, seed, pictures, without_codes, megapixels, as_json=as_json),
        as_json=as_json,
    )


@scan_app.command("validate")
def scan_validate(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.", metavar="FOLDER")],
    negatives: Annotated[
        list[Path] | None,
        typer.Option(help="A folder in it whose pictures show no QR code; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the camera.", min=0)] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this host; as many as cores.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the simulated camera with real photographs, a category a folder.

    Severities are fitted on one half of each folder and judged on the other. The layout is that of
    `fewseconds scan evaluate`.
    """
    from fewseconds.commands.validate import scan_validate as command

    _carry_out(
        lambda: command(folder, negatives or [], seed, workers, as_json=as_json), as_json=as_json
    )


@scan_app.command("census")
def scan_census(
    scenario: Name,
    seed: Seed = None,
    consumers: Annotated[
        int | None, typer.Option(help="Only the first so many of those who scan.", min=1)
    ] = None,
    medium: Annotated[
        str | None, typer.Option(help="All bills on this medium, such as laser_print.")
    ] = None,
    decoder: Annotated[
        str, typer.Option(help="quick, cascade, scanner (of each one's app) or a decoder's name.")
    ] = "quick",
    frames: Annotated[int, typer.Option(help="Frames until a consumer gives up.", min=1)] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this host; as many as cores.", min=1)
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="A Dask cluster instead: tcp://host:port, or local:2 to start one."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the census; where it goes on if it was cut off.")
    ] = None,
    only: Annotated[
        int | None, typer.Option(help="Scan the bill of this consumer alone.", min=0)
    ] = None,
    as_json: Json = False,
) -> None:
    """Scan every consumer's own bill and check that nothing is ever misread.

    Exit code 1 if any text that was read is not, byte for byte, the signed link of that bill.
    """
    from fewseconds.commands.census import Wish
    from fewseconds.commands.census import scan_census as command

    wish = Wish(
        name=scenario,
        seed=seed,
        consumers=consumers,
        medium=medium,
        decoder=decoder,
        frames=frames,
        workers=workers,
        cluster=cluster,
        out=out,
        only=only,
    )
    _carry_out(
        lambda: command(wish, as_json=as_json),
        as_json=as_json,
        folders={"--out": out or Path("results") / "census"},
    )


@scan_app.command("bench")
def scan_bench(
    seed: Annotated[int, typer.Option(help="Seed of bills and photographs.", min=0)] = 7,
    repeats: Annotated[int, typer.Option(help="How often everything is measured.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """Measure codes, photographs and decodes a second beside segno, albumentations and zxing-cpp.

    All in one run and by processor time, so that rates are those of one core; medians of repeats.
    """
    from fewseconds.commands.scan_bench import scan_bench as command

    _carry_out(lambda: command(seed, repeats, as_json=as_json), as_json=as_json)


@scan_app.command("bill")
def scan_bill(
    scenario: Name = "mumbai",
    seed: Seed = None,
    consumer: Annotated[int, typer.Option(help="Which of the scenario's consumers.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="A .pdf or .png file to write.")] = Path("bill.pdf"),
    placard: Annotated[
        bool, typer.Option("--placard", help="The placard of a counter instead of the bill.")
    ] = False,
    dpi: Annotated[int, typer.Option(help="Dots per inch of a PNG.", min=50, max=1200)] = 200,
    as_json: Json = False,
) -> None:
    """Print a consumer's bill in English and Marathi, with its code in real size."""
    from fewseconds.commands.bill import scan_bill as command

    _carry_out(
        lambda: command(scenario, seed, consumer, out, placard=placard, dpi=dpi, as_json=as_json),
        as_json=as_json,
        files={"--out": out},
    )
