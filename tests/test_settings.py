"""Settings, written once: what they say of themselves, as options, and as keywords of functions."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

import pytest
import typer
from typer.testing import CliRunner

from rankformer.cli.command import Changes, command
from rankformer.keywords import show_keywords, take
from rankformer.names import parse_attributes, parse_values
from rankformer.settings import described_fields, is_settings, setting, settings


@settings("How it is cooked")
class Cooking:
    """How a meal is cooked."""

    heat: int = setting(default=180, text="Degrees, as of --oven-kind.")
    oven_kind: Literal["gas", "steam"] = setting(default="gas", text="The oven.")
    lid: bool = setting(default=True, options=("--lid/--no-lid",), text="Whether there is a lid.")
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


def test_a_docstring_lists_each_field_with_its_default():
    lines = [line.strip() for line in Meal.__doc__.splitlines()]
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


def test_settings_are_frozen_and_known_by_their_class():
    with pytest.raises(FrozenInstanceError):
        Cooking().heat = 3
    assert is_settings(Cooking)
    assert not is_settings(Cooking())
    assert not is_settings(int)

    @settings(kw_only=True)
    class ByName:
        """By name."""

        field: int = setting(default=0, text="A number.")

    with pytest.raises(TypeError):
        ByName(3)
    assert ByName(field=3).field == 3


def test_a_field_stands_under_the_heading_of_the_class_that_has_it():
    panels = {each.name: about.panel for each, _, about in described_fields(Meal)}
    assert panels["heat"] == "How it is cooked"
    assert panels["name"] == "On the card"
    assert panels["spices"] is None
    assert [each.name for each in fields(Meal)][:4] == ["heat", "oven_kind", "lid", "secret"]


def test_a_command_gets_the_settings_of_its_options():
    assert given("", meal=Meal) == {"meal": Meal(spices=("salt",))}
    words = ("--heat 90 --oven-kind steam --no-lid --name pie --host me --friend you --friend they "
             "--extra tea --extra juice=apple --spices mint --spices thyme")  # fmt: skip
    assert given(words, meal=Meal)["meal"] == Meal(
        heat=90, oven_kind="steam", lid=False, name="pie", guests=Guests("me", ("you", "they")),
        extras={"tea": "tea", "juice": "apple"}, spices=("mint", "thyme"),
    )  # fmt: skip


def test_settings_that_may_be_missing_need_nothing():
    assert given("", meal=Meal)["meal"].guests is None
    assert given("--friend you", meal=Meal)["meal"].guests == Guests(None, ("you",))


def test_what_is_needed_is_asked_for():
    with pytest.raises(AssertionError, match="--host"):
        given("", guests=Guests)
    assert given("--host me", guests=Guests)["guests"] == Guests("me")


def test_changes_are_what_was_given():
    kind = Annotated[dict[str, Any], Changes(Cooking)]
    assert given("", changes=kind) == {"changes": {}}
    assert given("--heat 180 --no-lid", changes=kind) == {"changes": {"heat": 180, "lid": False}}


def test_fields_of_one_option_get_one_value():
    @settings()
    class Oven:
        """An oven."""

        heat: int = setting(default=180, text="Degrees of the oven.")

    got = given("--heat 20", meal=Meal, oven=Oven)
    assert (got["meal"].heat, got["oven"]) == (20, Oven(20))

    @settings()
    class Other:
        """Another oven."""

        heat: int = setting(default=200, text="Degrees of another oven.")

    with pytest.raises(TypeError, match="heat"):
        given("", meal=Meal, oven=Other)


def test_an_option_that_is_no_setting_stays_as_it_is():
    option = Annotated[int, typer.Option("--size", help="Of the pot.")]
    assert given("--size 3", size=option)["size"] == 3


def test_the_help_has_output_and_model_first_and_tells_choices_and_headings():
    def cook(
        meal: Meal,
        model: Annotated[str, typer.Option("--model", help="The cook.")] = "me",
        output: Annotated[Path | None, typer.Option("--output", help="The plate.")] = None,
    ) -> None:
        """Cook."""

    shown = run(cook, "--help")
    order = [shown.index(each) for each in ("--output", "--model", "How it is cooked", "--heat")]
    assert order == sorted(order)
    assert "The oven. One of gas, steam." in shown
    assert "A friend. It may be given several times." in shown
    assert "PATH" in shown
    assert "NUMBER" in shown
    assert "secret" not in shown
    assert "--no-lid" in shown
    assert "[default: 180]" in shown


def test_quiet_hides_what_is_not_a_warning(monkeypatch):
    import logging

    logger = logging.getLogger("rankformer")
    monkeypatch.setattr(logger, "level", logging.INFO)
    assert given("--quiet", meal=Meal)["meal"] == Meal()
    assert logger.level == logging.WARNING


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


def test_keywords_are_shown_with_their_defaults():
    shown = inspect.signature(cook).parameters
    assert list(shown) == ["pot", "heat_up", "heat", "oven_kind", "lid"]
    assert (shown["heat"].default, shown["heat"].annotation) == (180, int)
    assert shown["heat"].kind is inspect.Parameter.KEYWORD_ONLY
    assert shown["oven_kind"].annotation is str
    assert cook.__annotations__["return"] is str
    assert cook.__name__ == "cook"


def test_keywords_are_described_in_the_place_of_how():
    said = inspect.getdoc(cook)
    assert "**how" not in said
    assert "two lines" not in said
    assert "heat\n    Degrees, as of `oven_kind`. The default is 180.\n" in said
    assert said.endswith("Returns\n-------\nA meal.")
    assert "secret" not in said


def test_keywords_are_passed_on():
    assert cook("pan", heat=3) == "pan {'heat': 3} False"
    assert cook("pan", heat_up=True) == "pan {} True"
    assert take(Cooking, {"heat": 3, "name": "x"}) == {"heat": 3}


def test_a_keyword_that_there_is_not_is_named():
    with pytest.raises(TypeError, match=r"cook\(\) got an unexpected keyword argument 'heet'. Did "
                                        r"you mean 'heat'\?"):  # fmt: skip
        cook("pan", heet=3)
    with pytest.raises(TypeError, match=r"argument 'secret'$"):
        cook("pan", secret=3)


def test_values_of_columns():
    assert parse_values(["kind=B", "donor=d=1"]) == {"kind": "B", "donor": "d=1"}
    assert parse_values(["kind="]) == {"kind": ""}
    for odd in (["kind"], ["=B"], ["kind=B", "kind=T"]):
        with pytest.raises(ValueError, match="--where"):
            parse_values(odd)
