"""Finding and reading scenario files: extends, overrides, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewseconds import scenario_file
from fewseconds.errors import EXIT_USAGE, ScenarioError, UsageError


def refused(name: str | Path) -> str:
    """The message with which a scenario is refused."""
    with pytest.raises(UsageError) as caught:
        scenario_file.load(str(name))
    assert caught.value.exit_code == EXIT_USAGE
    assert not isinstance(caught.value, ScenarioError)
    return str(caught.value)


def test_all_shipped_scenarios_load_under_their_names() -> None:
    """The shipped scenarios are the files in their folder, each named after its file."""
    folder = Path(scenario_file.__file__).parent.parent / "fixtures" / "scenarios"
    assert scenario_file.shipped() == sorted(
        file.name.removesuffix(".toml") for file in folder.iterdir() if file.suffix == ".toml"
    )
    assert {
        "smoke",
        "mumbai",
        "ordinary_day",
        "due_date_evening",
        "adoption_70",
        "adoption_80",
        "discount_day",
    } <= set(scenario_file.shipped())
    for name in scenario_file.shipped():
        assert scenario_file.load(name).name == name


def test_a_name_that_is_not_shipped_is_refused_with_the_closest() -> None:
    """A misspelled name is answered with the one that was probably meant."""
    assert refused("smok") == "scenario 'smok': not found; did you mean 'smoke'?"
    assert "'mumbai'" in refused("xyzzy")
    assert refused("")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A path without a file, a folder, and a name that no file can have are refused in words."""
    assert refused(tmp_path / "none.toml").startswith(
        f"{tmp_path}/none.toml: no such scenario file"
    )
    assert "no such scenario file" in refused(tmp_path)
    assert "no such scenario file" in refused("x" * 5000 + ".toml")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    """Broken TOML and bytes that are no text are refused with the place of the trouble."""
    path = tmp_path / "mine.toml"
    path.write_text('title = "open\n')
    assert refused(path).startswith("mine.toml: not valid TOML: ")
    assert "line 1" in refused(path)
    path.write_bytes(b"title = '\xff\xfe'")
    assert refused(path).startswith("mine.toml: not valid TOML: ")
    path.write_text("a = " + "[" * 100_000)
    assert refused(path).startswith("mine.toml: not valid TOML: ")


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is refused with the reason that the system gives."""
    path = tmp_path / "mine.toml"
    path.write_text('extends = "smoke"')

    def forbidden(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", forbidden)
    assert refused(path).endswith(
        "mine.toml: cannot be read: Permission denied; check the path and its permissions"
    )


def test_a_scenario_may_not_extend_itself(tmp_path: Path) -> None:
    """A circle of extends is refused with the circle in the message."""
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{base}"')
    message = refused(tmp_path / "a.toml")
    assert message.startswith("a.toml: extends itself (a → b → c → a)")
    (tmp_path / "d.toml").write_text('extends = "d"')
    assert "d → d" in refused(tmp_path / "d.toml")


@pytest.mark.parametrize(("base", "said"), [("3", "3 is not a name"), ('"smok"', "'smoke'")])
def test_a_base_that_is_none_is_refused(base: str, said: str, tmp_path: Path) -> None:
    """What a file extends has to be the name of a scenario."""
    (tmp_path / "mine.toml").write_text(f"extends = {base}")
    message = refused(tmp_path / "mine.toml")
    assert said in message
    assert message.startswith("mine.toml: ")


def test_tables_are_merged_and_laws_replaced(tmp_path: Path) -> None:
    """What extends a scenario keeps its name, its other keys and no half of another law."""
    (tmp_path / "base.toml").write_text('extends = "smoke"\nname = "base"\nseed = 3\n')
    (tmp_path / "top.toml").write_text(
        'extends = "base"\n[stations.biller]\nservers = 9\n'
        'service_time = { law = "constant", value_ms = 2, source = "made up" }\n'
        "[stations.switch]\nservice_time.max_ms = 70\n"
    )
    top, smoke = scenario_file.load(str(tmp_path / "top.toml")), scenario_file.load("smoke")
    assert (top.name, top.seed) == ("top", 3)
    biller, switch = top.stations["biller"], top.stations["switch"]
    assert (biller.servers, biller.queue_limit) == (9, smoke.stations["biller"].queue_limit)
    assert (biller.service_time.value_ms, biller.service_time.median_ms) == (2, None)
    assert (switch.service_time.max_ms, switch.service_time.median_ms) == (70, 60)
    assert top.banks == smoke.banks


def test_a_base_is_looked_for_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base by path is found from the file that names it, wherever the command is called."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "base.toml").write_text('extends = "smoke"\nseed = 5\n')
    (tmp_path / "inner" / "top.toml").write_text('extends = "../base.toml"\n')
    monkeypatch.chdir(Path(__file__).parent)
    assert scenario_file.load(str(tmp_path / "inner" / "top.toml")).seed == 5
