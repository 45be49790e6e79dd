"""What classes are called in texts: names, a line each, and templates that they are put into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxengine.backbones.spec import LONGEST_NAME
from fxengine.errors import InputError, path_of
from fxengine.files import open_regular

PLACE = "{}"  # of a template, where the name goes
DEFAULT = ("a photo of a {}.",)
# open_clip's SIMPLE_IMAGENET_TEMPLATES (MIT), seven of the 80 of OpenAI's notebook Prompt_Engineering_for_ImageNet.
PHOTO = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
LISTS = {"photo": PHOTO}
_LONGEST = 1 << 24  # bytes of a file


@dataclass(frozen=True)
class Prompts:
    """What is asked of each class.

    Attributes:
        classes: names, as labels have them.
        words: what each is called in texts.
        templates: texts with {} for these words.
    """

    classes: tuple[str, ...]
    words: tuple[str, ...]
    templates: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, those of a class one after another."""
        return tuple(template.replace(PLACE, word) for word in self.words for template in self.templates)


def read_prompts(classes: str | Path | Sequence[str], templates: str | Path | Sequence[str] | None) -> Prompts:
    """Return what is asked: of classes and templates, a file of a line each, or a list of lines.

    A line of `classes` is a name, or a name, a tab, and the words to ask with; without these an underscore of the name
    is a space in the text. `templates` may also be a key of `LISTS`; None is `DEFAULT`.

    Raises:
        InputError: a file cannot be read or is not UTF-8, there are fewer than two classes or no template, a line is
            blank or too long, a name stands there twice, or a template has no {}.
    """
    names = _names(classes)
    return Prompts(tuple(names), tuple(names.values()), DEFAULT if templates is None else _templates(templates))


def _names(classes: str | Path | Sequence[str]) -> dict[str, str]:
    """Return name -> words."""
    names: dict[str, str] = {}
    for place, line in _lines("classes", classes):
        name, tab, words = line.partition("\t")
        name, said = name.strip(), (words if tab else name.replace("_", " ")).strip()
        if not name or not said:
            raise InputError(f"{place} is blank: a line is the name of a class.")
        if name in names:
            raise InputError(f"{place} names {name!r} for the second time: each class stands in one line.")
        names[name] = said
    if len(names) < 2:
        raise InputError(f"`classes` must name at least two, to tell apart. Got {len(names)}.")
    return names


def _templates(templates: str | Path | Sequence[str]) -> tuple[str, ...]:
    if isinstance(templates, str) and templates in LISTS:
        return LISTS[templates]
    found = []
    for place, line in _lines("templates", templates):
        if PLACE not in line:
            raise InputError(f"{place} has no {PLACE}, where the name of a class goes.")
        found.append(line.strip())
    if not found:
        raise InputError(f"`templates` holds none: a line is a text with {PLACE}, where the name of a class goes.")
    return tuple(found)


def _lines(parameter: str, given: str | Path | Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (where it stands, for messages; the line) of a file, or of a list."""
    if isinstance(given, list | tuple):
        name, lines = f"`{parameter}`", [str(line) for line in given]
    else:
        path = path_of(parameter, given)
        name, lines = str(path), _read(path).removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_NAME:
            raise InputError(f"{name}, line {number} has {len(line)} characters, more than the {LONGEST_NAME} allowed.")
        yield f"{name}, line {number}", line


def _read(path: Path) -> str:
    try:
        with open_regular(path, follow=True) as stream:
            content = stream.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise InputError(f"{path} is longer than {_LONGEST >> 20} MB: it should hold a short text in each line.")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: save it as that.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
