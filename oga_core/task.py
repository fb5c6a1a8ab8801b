"""The tasks a model can be trained for: the facts that pages, tables and lists need of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """The task of a model; its computations are in `oga_core.scoring.tasks`.

    Attributes
    ----------
    name
        For people and records.
    kinds
        Kinds of data (`Dataset.kind`) that are for it.
    samples
        What such a model takes, in words.
    group, groups
        Noun for a given label, and its plural.
    label
        Title of the column of given labels.
    fault
        What a sample is that hurts the model: completes "… % are …".
    decisions
        What a reviewer may decide on a sample.
    predictions
        Columns of `Run.table` that the model predicts.
    class_probabilities
        Whether the model's outputs are logits of the classes of the data, which some detectors need.
    token_losses
        Whether a sample has a loss for each token.
    head_in_closed_form
        Whether the gradient of the head is kept as its two factors; else as a sketch.
    map_spaces
        What can be mapped.
    no_relabel, no_starter
        Why there is no other label to choose, and no starter model; empty where there is.
    meanings
        Explanations of numbers that differ from those for classes, by the name of the number.
    sample_input
        Noun for the input of a new sample, in words.
    names_class
        Whether the target of a new sample is the name of a class; else it is a text.
    loss_unit
        Of the loss of a sample.
    auto_class, model
        Class of transformers that loads such a model, and the noun for it.
    """

    name: str
    kinds: tuple[str, ...]
    samples: str
    group: str
    groups: str
    label: str
    fault: str
    decisions: tuple[str, ...]
    predictions: tuple[str, ...]
    class_probabilities: bool
    token_losses: bool
    head_in_closed_form: bool
    map_spaces: tuple[str, ...]
    no_relabel: str
    no_starter: str
    meanings: tuple[tuple[str, str], ...]
    sample_input: str
    names_class: bool
    loss_unit: str
    auto_class: str
    model: str


CLASSIFICATION = Task(
    name="classification",
    kinds=("image", "text", "features"),
    samples="samples with labels",
    group="class",
    groups="classes",
    label="given label",
    fault="badly labelled",
    decisions=("keep", "remove", "relabel", "unsure"),
    predictions=("predicted", "confidence", "suggested_label", "suggested_label_source"),
    class_probabilities=True,
    token_losses=False,
    head_in_closed_form=True,
    map_spaces=("gradients", "features"),
    no_relabel="",
    no_starter="",
    meanings=(),
    sample_input="Text",
    names_class=True,
    loss_unit="nats",
    auto_class="AutoModelForSequenceClassification",
    model="sequence classifier",
)

LANGUAGE_MODELLING = Task(
    name="language modelling",
    kinds=("prompts",),
    samples="prompts with answers",
    group="group",
    groups="groups",
    label="group",
    fault="wrong",
    decisions=("keep", "remove", "unsure"),
    predictions=(),
    class_probabilities=False,
    token_losses=True,
    head_in_closed_form=False,
    map_spaces=("gradients",),
    no_relabel="Prompts and answers have no class label: keep, remove or unsure.",
    no_starter="no language model is trained here: fine-tune it first, and give its folder (--weights FOLDER)",
    meanings=(
        (
            "near",
            "The samples whose loss gradients have the largest cosine with this one's, of random projections to 512 numbers: "
            "they pull the model the same way.",
        ),
        ("near_label", "The same among the samples of its group."),
    ),
    sample_input="Prompt",
    names_class=False,
    loss_unit="nats a token",
    auto_class="AutoModelForCausalLM",
    model="causal language model",
)

TASKS = (CLASSIFICATION, LANGUAGE_MODELLING)
DECISIONS = tuple(dict.fromkeys(decision for task in TASKS for decision in task.decisions))
"""Of all tasks."""


def task_of(kind: str) -> Task:
    """Return the task that data of a kind (`Dataset.kind`) are for."""
    return next(task for task in TASKS if kind in task.kinds)
