"""The records of a run: `RunSpec`, what it is to do, and `RunSummary`, what came of it; JSON in the workspace.

The JSON has the keys that OGA has always written, and ``version`` since version 1. Keys that are not known are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

from oga_core.data.dataset import Kind
from oga_core.errors import InputError, shorten

VERSION = 1
"""Version of the records that are written; those of OGA up to 0.8 have none and count as 0."""
NO_SUMMARY = "{}"
"""Summary of a run that is not done."""
NO_RECOMMENDATION = "no recommendation: "
"""How the note begins that says why there is none; only records without a version have no field for it."""


@dataclass(frozen=True)
class DataSource:
    """Data as `oga_core.data.open_dataset` takes them: where they are, and the columns that were named."""

    source: str
    inputs: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Starter:
    """A starter model that OGA trains on the data; ``folds`` more for the recommendation. None is the default of the data."""

    epochs: int | None = None
    folds: int | None = None


@dataclass(frozen=True)
class Weights:
    """A file or folder of weights; `model` is the architecture or ``package.module:function``, None where the file says it."""

    path: str
    model: str | None = None

    @property
    def arguments(self) -> tuple[str | None, Path | None]:
        """Model and weights as `oga_core.models.load_model` takes them."""
        return self.model, Path(self.path)


@dataclass(frozen=True)
class Factory:
    """A model with its weights, made by code of the owner: ``package.module:function``."""

    name: str

    @property
    def arguments(self) -> tuple[str | None, Path | None]:
        """Model and weights as `oga_core.models.load_model` takes them."""
        return self.name, None


@dataclass(frozen=True)
class InMemory:
    """A model that a script gave to `oga_core.score`; it is not kept."""

    name: str = ""


ModelSource: TypeAlias = Starter | Weights | Factory | InMemory


@dataclass(frozen=True)
class RunSpec:
    """All that is needed to do a run, and to do it again.

    Attributes
    ----------
    data
        None until the data of a run from Python are known.
    scope, head, detectors, seed
        As `oga_core.score` takes them.
    notes
        Notes shown to the user before the run.
    """

    data: DataSource | None = None
    model: ModelSource = InMemory()
    scope: str = "head"
    head: str | None = None
    detectors: tuple[str, ...] = ()
    seed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def has_own_code(self) -> bool:
        """Whether opening the model runs code of the owner."""
        return isinstance(self.model, Weights | Factory) and ":" in (self.model.arguments[0] or "")

    def to_json(self) -> str:
        data: dict[str, Any] = {}
        if self.data is not None:
            options = {"inputs": self.data.inputs, "label": self.data.label}
            data = {"data": self.data.source, "data_options": {key: value for key, value in options.items() if value}}
        rest = {
            "scope": self.scope,
            "head": self.head,
            "detectors": self.detectors,
            "seed": self.seed,
            "notes": self.notes,
        }
        return json.dumps({"version": VERSION, **data, **_model_to_json(self.model), **rest})

    @classmethod
    def from_json(cls, text: str, where: str) -> RunSpec:
        """Read a record.

        Parameters
        ----------
        where
            What the text is and the file that has it, for messages.

        Raises
        ------
        InputError
            If a value is not what it must be, or a newer OGA wrote the record.
        """
        fields = _Fields.parse(text, where)
        options = fields.record("data_options", {})
        source = fields.text_or_none("data")
        data = DataSource(source, options.text_or_none("inputs"), options.text_or_none("label")) if source else None
        return cls(
            data=data,
            model=_model_from_json(fields),
            scope=fields.text("scope", cls.scope),
            head=fields.text_or_none("head"),
            detectors=fields.texts("detectors", []),
            seed=fields.whole("seed", cls.seed),
            notes=fields.texts("notes", []),
        )


class MappedClass(NamedTuple):
    """A class of the data, its position in the model's output, and the model's name for it."""

    name: str
    output: int
    model_name: str


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of a file: hash, size, and time of its last change in nanoseconds since 1970."""

    sha256: str
    bytes: int
    changed: int


@dataclass(frozen=True)
class RunSummary:
    """Result of a run that is done.

    Attributes
    ----------
    kind
        Of the data.
    model, model_source
        The model's name, and where it came from, for people.
    held_out_accuracy
        Of a starter, on samples that it was not trained on, by their given labels; else None.
    agreement
        Share of the scored samples whose given label the model predicts; None of a language model.
    head
        Name of the layer that is the head, where it was found.
    mapping
        For each class of the data the model's; empty for a language model.
    samples, scored, not_scored
        Counts.
    detectors
        The score columns of the table, in their order.
    sketch_form
        The version of the random projection; None where gradients are known exactly.
    notes
        Of the spec first, then of the scoring, for people.
    no_recommendation
        Why there is no recommendation; empty where there is one, or where the reason is not known.
    weights
        The file of weights as it was scored; None where there was none.
    """

    class_names: tuple[str, ...]
    kind: Kind
    model: str
    model_source: str
    held_out_accuracy: float | None
    agreement: float | None
    scope: str
    head: str | None
    mapping: tuple[MappedClass, ...]
    samples: int
    scored: int
    not_scored: int
    seconds: float
    seed: int
    detectors: tuple[str, ...]
    notes: tuple[str, ...]
    sketch_form: int | None = None
    no_recommendation: str = ""
    weights: Fingerprint | None = None

    def to_json(self) -> str:
        fields = asdict(self)
        weights = fields.pop("weights")
        return json.dumps({"version": VERSION, **fields, "weights_were": weights})

    @classmethod
    def from_json(cls, text: str, where: str) -> RunSummary:
        """Read a record; see `RunSpec.from_json`."""
        fields = _Fields.parse(text, where)
        notes = fields.texts("notes")
        return cls(
            class_names=fields.texts("class_names"),
            kind=fields.kind("kind"),
            model=fields.text("model"),
            model_source=fields.text("model_source"),
            held_out_accuracy=fields.number_or_none("held_out_accuracy"),
            agreement=fields.number_or_none("agreement"),
            scope=fields.text("scope"),
            head=fields.text_or_none("head"),
            mapping=fields.mapping("mapping"),
            samples=fields.whole("samples"),
            scored=fields.whole("scored"),
            not_scored=fields.whole("not_scored"),
            seconds=fields.number("seconds"),
            seed=fields.whole("seed"),
            detectors=fields.texts("detectors"),
            notes=notes,
            sketch_form=fields.whole_or_none("sketch_form"),
            no_recommendation=fields.text("no_recommendation", "") if fields.version else _reason_in(notes),
            weights=_fingerprint_from_json(fields),
        )


def _model_to_json(model: ModelSource) -> dict[str, Any]:
    if isinstance(model, InMemory):  # its record has no key "weights", by which older releases know it
        return {"model": model.name}
    name, weights = (None, None) if isinstance(model, Starter) else model.arguments
    asked = asdict(model) if isinstance(model, Starter) else {"epochs": None, "folds": None}
    return {"model": name, "weights": None if weights is None else str(weights), **asked}


def _model_from_json(fields: _Fields) -> ModelSource:
    name, weights = fields.text_or_none("model"), fields.text_or_none("weights")
    if not fields.has("weights"):
        return InMemory(name or "")
    if weights:
        return Weights(weights, name or None)
    return Factory(name) if name else Starter(fields.whole_or_none("epochs"), fields.whole_or_none("folds"))


def _fingerprint_from_json(fields: _Fields) -> Fingerprint | None:
    found = fields.record("weights_were", None)
    return Fingerprint(found.text("sha256"), found.whole("bytes"), found.whole("changed")) if found.values else None


def _reason_in(notes: tuple[str, ...]) -> str:
    return next((note.removeprefix(NO_RECOMMENDATION) for note in notes if note.startswith(NO_RECOMMENDATION)), "")


_REQUIRED: Any = object()
_KINDS = get_args(Kind)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or isinstance(value, float)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_mapping(value: object) -> bool:
    def is_entry(one: object) -> bool:
        return isinstance(one, list) and len(one) == 3 and _are_texts([one[0], one[2]]) and _is_whole(one[1])

    return isinstance(value, list) and all(map(is_entry, value))


class _Fields:
    """The values of a JSON object, each checked when it is read."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values, self._where = values, where
        self.version = self.whole("version", 0)
        if self.version > VERSION:
            raise InputError(
                f"{where}: written by a newer OGA (version {self.version} of the records; this one reads up to {VERSION}): "
                "update OGA"
            )

    @classmethod
    def parse(cls, text: str, where: str) -> _Fields:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON: {error}; score the data again") from error
        if not isinstance(values, dict):
            raise InputError(f"{where}: not a JSON object; score the data again")
        return cls(values, where)

    def has(self, key: str) -> bool:
        return key in self.values

    def _get(self, key: str, default: Any, wanted: str, fits: Callable[[Any], bool]) -> Any:
        value = self.values.get(key, default)
        if value is _REQUIRED:
            raise InputError(f"{self._where}: {key!r} is missing; score the data again")
        if not fits(value):
            raise InputError(
                f"{self._where}: {key!r} must be {wanted}, not {shorten(json.dumps(value), 60)}; score the data again"
            )
        return value

    def text(self, key: str, default: str = _REQUIRED) -> str:
        return str(self._get(key, default, "a text", lambda value: isinstance(value, str)))

    def text_or_none(self, key: str) -> str | None:
        value: str | None = self._get(key, None, "a text", lambda value: value is None or isinstance(value, str))
        return value

    def texts(self, key: str, default: list[str] = _REQUIRED) -> tuple[str, ...]:
        return tuple(self._get(key, default, "a list of texts", _are_texts))

    def whole(self, key: str, default: int = _REQUIRED) -> int:
        return int(self._get(key, default, "a whole number", _is_whole))

    def whole_or_none(self, key: str) -> int | None:
        value: int | None = self._get(key, None, "a whole number", lambda value: value is None or _is_whole(value))
        return value

    def number(self, key: str) -> float:
        return float(self._get(key, _REQUIRED, "a number", _is_number))

    def number_or_none(self, key: str) -> float | None:
        value: float | None = self._get(key, None, "a number", lambda value: value is None or _is_number(value))
        return value

    def kind(self, key: str) -> Kind:
        value: Kind = self._get(key, _REQUIRED, f"one of {', '.join(_KINDS)}", lambda value: value in _KINDS)
        return value

    def mapping(self, key: str) -> tuple[MappedClass, ...]:
        found = self._get(key, _REQUIRED, "a list of class, position and class of the model", _is_mapping)
        return tuple(MappedClass(*one) for one in found)

    def record(self, key: str, default: dict[str, Any] | None) -> _Fields:
        """The object below a key; one without values where it is None and that is the default."""
        found = self._get(key, default, "an object", lambda value: isinstance(value, dict) or value is default)
        return _Fields(found or {}, f"{self._where}: {key!r}")
