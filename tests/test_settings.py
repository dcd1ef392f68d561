"""Settings, written once: what they say of themselves, as options, and as keywords of functions."""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, TypedDict, Unpack

import pytest
import typer
from typer.testing import CliRunner

from rankformer.cli.command import Changes, command
from rankformer.keywords import show_keywords, take
from rankformer.names import parse_attributes, parse_values
from rankformer.settings import described_fields, is_settings, setting, settings


@pytest.fixture
def kitchen():
    """Settings, and a function of them, made in the test: what makes them is tested."""

    @settings("How it is cooked")
    class Cooking:
        """How a meal is cooked."""

        heat: int = setting(default=180, text="Degrees, as of --oven-kind.")
        oven_kind: Literal["gas", "steam"] = setting(default="gas", text="The oven.")
        lid: bool = setting(
            default=True, options=("--lid/--no-lid",), text="Whether there is a lid."
        )
        slow_cook: bool = setting(default=False, text="For hours.")
        secret: int = setting(default=7, options=None, text="Not for the command line.")

    @settings("Guests")
    class Guests:
        """Who comes."""

        host: str = setting(text="The host.")
        friends: tuple[str, ...] = setting(default=(), options=("--friend",), text="A friend.")

        @classmethod
        def asked_for(cls, host=None, friends=()):
            return cls(host, friends) if host or friends else None

    @settings()
    class Meal(Cooking):
        """A meal."""

        name: str = setting(default="soup", text="What it is called.", panel="On the card")
        guests: Guests | None = setting(default=None, text="Who comes.")
        extras: Mapping[str, str] = setting(
            default_factory=dict, options=("--extra",), kind=list[str], parse=parse_attributes,
            text="What goes with it.",
        )  # fmt: skip
        spices: Sequence[str] = setting(default=("salt",), kind=list[str], text="What is added.")

    class Keywords(TypedDict, total=False):
        """Of `Cooking`, less the secret."""

        heat: int
        oven_kind: str
        lid: bool

    @show_keywords(Cooking)
    def cook(pot, *, heat_up=False, **how: Unpack[Keywords]) -> str:
        """Cook.

        Parameters
        ----------
        pot
            The pot.
        **how
            How it is cooked.
            In two lines.

        Returns
        -------
        A meal.
        """
        return f"{pot} {take(Cooking, how)} {heat_up}"

    return SimpleNamespace(Cooking=Cooking, Guests=Guests, Meal=Meal, cook=cook)


def run(function, words):
    """The values that a command gets, and what is shown."""
    app = typer.Typer()
    app.command()(command(function))
    done = CliRunner().invoke(app, words.split(), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def given(words, **annotations):
    """What a function of these parameters is called with."""
    got = {}

    def function(**values):
        got.update(values)

    function.__signature__ = inspect.Signature([
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=each)
        for name, each in annotations.items()
    ])  # fmt: skip
    run(function, words)
    return got


def test_a_docstring_lists_each_field_with_its_default(kitchen):
    lines = [line.strip() for line in kitchen.Meal.__doc__.splitlines()]
    assert lines[:4] == ["A meal.", "", "Attributes", "----------"]
    assert lines[4:8] == ["heat", "Degrees, as of `oven_kind`. The default is 180.", "oven_kind",
                          "The oven. The default is 'gas'."]  # fmt: skip
    assert lines[lines.index("guests") + 1] == "Who comes."
    assert lines[lines.index("spices") + 1] == "What is added. The default is ('salt',)."


def test_long_texts_are_wrapped():
    @settings()
    class Long:
        """Long."""

        field: int = setting(default=0, text="word " * 40)

    assert max(map(len, Long.__doc__.splitlines())) <= 100
    assert Long.__doc__.split().count("word") == 40


def test_settings_are_frozen_and_known_by_their_class(kitchen):
    with pytest.raises(FrozenInstanceError):
        kitchen.Cooking().heat = 3
    assert is_settings(kitchen.Cooking)
    assert not is_settings(kitchen.Cooking())
    assert not is_settings(int)

    @settings(kw_only=True)
    class ByName:
        """By name."""

        field: int = setting(default=0, text="A number.")

    with pytest.raises(TypeError):
        ByName(3)
    assert ByName(field=3).field == 3


def test_a_field_stands_under_the_heading_of_the_class_that_has_it(kitchen):
    panels = {each.name: about.panel for each, _, about in described_fields(kitchen.Meal)}
    assert panels["heat"] == "How it is cooked"
    assert panels["name"] == "On the card"
    assert panels["spices"] is None
    names = [each.name for each in fields(kitchen.Meal)]
    assert names[:5] == ["heat", "oven_kind", "lid", "slow_cook", "secret"]


def test_a_command_gets_the_settings_of_its_options(kitchen):
    assert given("", meal=kitchen.Meal) == {"meal": kitchen.Meal(spices=("salt",))}
    words = ("--heat 90 --oven-kind steam --no-lid --slow-cook --name pie --host me --friend you "
             "--friend they --extra tea --extra juice=apple --spices mint "
             "--spices thyme")  # fmt: skip
    assert given(words, meal=kitchen.Meal)["meal"] == kitchen.Meal(
        heat=90, oven_kind="steam", lid=False, slow_cook=True, name="pie",
        guests=kitchen.Guests("me", ("you", "they")),
        extras={"tea": "tea", "juice": "apple"}, spices=("mint", "thyme"),
    )  # fmt: skip


def test_settings_that_may_be_missing_need_nothing(kitchen):
    assert given("", meal=kitchen.Meal)["meal"].guests is None
    got = given("--friend you", meal=kitchen.Meal)["meal"]
    assert got.guests == kitchen.Guests(None, ("you",))


def test_what_is_needed_is_asked_for(kitchen):
    with pytest.raises(AssertionError, match="--host"):
        given("", guests=kitchen.Guests)
    assert given("--host me", guests=kitchen.Guests)["guests"] == kitchen.Guests("me")


def test_changes_are_what_was_given(kitchen):
    kind = Annotated[dict[str, Any], Changes(kitchen.Cooking)]
    assert given("", changes=kind) == {"changes": {}}
    assert given("--heat 180 --no-lid", changes=kind) == {"changes": {"heat": 180, "lid": False}}


def test_fields_of_one_option_get_one_value(kitchen):
    @settings()
    class Oven:
        """An oven."""

        heat: int = setting(default=180, text="Degrees of the oven.")

    got = given("--heat 20", meal=kitchen.Meal, oven=Oven)
    assert (got["meal"].heat, got["oven"]) == (20, Oven(20))

    @settings()
    class Other:
        """Another oven."""

        heat: int = setting(default=200, text="Degrees of another oven.")

    with pytest.raises(TypeError, match="heat"):
        given("", meal=kitchen.Meal, oven=Other)


def test_an_option_that_is_no_setting_stays_as_it_is():
    option = Annotated[int, typer.Option("--size", help="Of the pot.")]
    assert given("--size 3", size=option)["size"] == 3


def test_the_help_has_output_and_model_first_and_tells_choices_and_headings(kitchen):
    def cook(
        meal: kitchen.Meal,
        model: Annotated[str, typer.Option("--model", help="The cook.")] = "me",
        output: Annotated[Path | None, typer.Option("--output", help="The plate.")] = None,
    ) -> None:
        """Cook."""

    shown = run(cook, "--help")
    order = [shown.index(each) for each in ("--output", "--model", "How it is cooked", "--heat")]
    assert order == sorted(order)
    assert "The oven. One of gas, steam." in shown
    assert "A friend. It may be given several times." in shown
    assert re.search(r"--output +PATH", shown)
    assert re.search(r"--heat +NUMBER", shown)
    assert re.search(r"--oven-kind +WORD", shown)
    assert re.search(r"--slow-cook +For hours", shown)
    assert "secret" not in shown
    assert "--no-lid" in shown
    assert "[default: 180]" in shown


def test_an_argument_is_one_by_its_name():
    @settings("What is read")
    class Files:
        """Files."""

        paths: tuple[Path, ...] = setting(options=("FILE…",), text="What is read in.")
        extra: int | None = setting(default=None, text="How many more.")

    def read(files: Files) -> None:
        """Read."""
        assert files == Files((Path("a"), Path("b")), 3)

    run(read, "a b --extra 3")
    shown = run(read, "--help")
    argument = next(line for line in shown.splitlines() if "What is read in." in line)
    assert "FILE…" in argument
    assert "default" not in argument
    assert shown.count("─ What is read ") == 2
    assert "several times" not in shown
    hints = command(read).__annotations__
    assert set(hints) == {"paths", "extra", "quiet", "help_all"}
    assert inspect.signature(command(read)).parameters["quiet"].default is False


def test_quiet_hides_what_is_not_a_warning(kitchen, monkeypatch):
    import logging

    logger = logging.getLogger("rankformer")
    monkeypatch.setattr(logger, "level", logging.INFO)
    assert given("--quiet", meal=kitchen.Meal)["meal"] == kitchen.Meal()
    assert logger.level == logging.WARNING


def test_keywords_are_shown_with_their_defaults(kitchen):
    shown = inspect.signature(kitchen.cook).parameters
    assert list(shown) == ["pot", "heat_up", "heat", "oven_kind", "lid"]
    assert (shown["heat"].default, shown["heat"].annotation) == (180, int)
    assert shown["heat"].kind is inspect.Parameter.KEYWORD_ONLY
    assert shown["oven_kind"].annotation is str
    assert kitchen.cook.__annotations__["return"] is str
    assert kitchen.cook.__name__ == "cook"


def test_keywords_are_described_in_the_place_of_how(kitchen):
    said = inspect.getdoc(kitchen.cook)
    assert "**how" not in said
    assert "two lines" not in said
    assert "heat\n    Degrees, as of `oven_kind`. The default is 180.\n" in said
    assert said.endswith("Returns\n-------\nA meal.")
    assert "secret" not in said


def test_keywords_of_settings_within_settings_stand_in_their_place(kitchen):
    class Keywords(TypedDict, total=False):
        name: str
        friends: Sequence[str]
        spices: Sequence[str]

    @show_keywords(kitchen.Meal)
    def serve(**how: Unpack[Keywords]) -> None:
        """Serve.

        Parameters
        ----------
        **how
            How.
        """

    shown = inspect.signature(serve).parameters
    assert list(shown) == ["name", "friends", "spices"]
    assert [each.default for each in shown.values()] == ["soup", (), ("salt",)]
    assert "friends\n    A friend." in inspect.getdoc(serve)


def test_a_default_of_several_values_is_the_option_s(kitchen):
    def cook(meal: kitchen.Meal) -> None:
        """Cook."""

    assert given("", meal=kitchen.Meal)["meal"].spices == ("salt",)
    assert inspect.signature(command(cook)).parameters["spices"].default == ["salt"]
    assert re.search(r"--spices.*default: salt", run(cook, "--help"))


def test_keywords_are_passed_on(kitchen):
    assert kitchen.cook("pan", heat=3) == "pan {'heat': 3} False"
    assert kitchen.cook("pan", heat_up=True) == "pan {} True"
    assert take(kitchen.Cooking, {"heat": 3, "name": "x"}) == {"heat": 3}


def test_a_keyword_that_there_is_not_is_named(kitchen):
    with pytest.raises(TypeError, match=r"cook\(\) got an unexpected keyword argument 'heet'. Did "
                                        r"you mean 'heat'\?"):  # fmt: skip
        kitchen.cook("pan", heet=3)
    with pytest.raises(TypeError, match=r"argument 'secret'$"):
        kitchen.cook("pan", secret=3)


def test_values_of_columns():
    assert parse_values(["kind=B", "donor=d=1"]) == {"kind": "B", "donor": "d=1"}
    assert parse_values(["kind="]) == {"kind": ""}
    for odd in (["kind"], ["=B"], ["kind=B", "kind=T"]):
        with pytest.raises(ValueError, match=r"--where (names a column twice|is .(kind|=B).\.)"):
            parse_values(odd)
