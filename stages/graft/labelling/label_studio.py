"""Label Studio's files: tasks with the model's guesses to import there, and labels from its export.

Source: the formats in Label Studio's documentation, "Import pre-annotated data" and "Export annotations" (JSON).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from stages.graft.core.errors import DataError
from stages.graft.data.given_labels import Decision

CONTROL, IMAGE, ID = "label", "image", "image_id"
"""Names of the choice and of the image in a labelling configuration, and of the image's id in a task; `id` alone would
be the number of the task in Label Studio's smaller export."""


def make_task(id_: str, path: str, image: str, guess: str) -> dict[str, Any]:
    """Make a task.

    Args:
        id_: of the image; it comes back with the label.
        path: of the image, for the person.
        image: its picture as a data address, so that nothing must be served.
        guess: class that the model takes it for, chosen beforehand; empty: none.
    """
    task: dict[str, Any] = {"data": {IMAGE: image, ID: id_, "path": path}}
    if guess:
        choice = {"from_name": CONTROL, "to_name": IMAGE, "type": "choices", "value": {"choices": [guess]}}
        task["predictions"] = [{"model_version": "graft", "result": [choice]}]
    return task


def labelling_config(classes: Sequence[str]) -> str:
    """Write the labelling configuration; without known classes a person types the class."""
    image = f'  <Image name="{IMAGE}" value="${IMAGE}"/>\n  <Header value="$path"/>\n'
    if not classes:
        return f'<View>\n{image}  <TextArea name="{CONTROL}" toName="{IMAGE}" maxSubmissions="1"/>\n</View>\n'
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in classes)
    start = f'  <Choices name="{CONTROL}" toName="{IMAGE}" required="true">'
    return f"<View>\n{image}{start}\n{choices}  </Choices>\n</View>\n"


def read_export(tasks: object, where: str) -> Iterator[Decision]:
    """Give the labels of an export in JSON, or of the smaller JSON-MIN; tasks without a label are passed over.

    Raises:
        DataError: it is no such export, or a task has several choices.
    """
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise DataError(f"{where} is no export of Label Studio: expected a list of tasks; export as JSON")
    for task in tasks:
        data = task.get("data", task)
        if not isinstance(data, dict) or not (data.get(ID) or data.get("path")):
            raise DataError(f"{where}: a task has neither {ID} nor path; import tasks that `graft suggest` wrote")
        id_, path = (str(data.get(name) or "") for name in (ID, "path"))
        for label, who, when in _labels(task, f"{where}: {path or id_}"):
            yield Decision(id=id_, path=path, label=label, who=who, when=when)


def _labels(task: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, str]]:
    """Give label, person and time of each annotation that was not cancelled."""
    if "annotations" not in task:
        if label := task.get(CONTROL):
            chosen = [label] if isinstance(label, str) else label.get("choices", [])
            yield (
                _one(chosen, where),
                _person({"completed_by": task.get("annotator", "")}),
                str(task.get("updated_at", "")),
            )
        return
    for annotation in task["annotations"]:
        chosen = [
            text
            for result in annotation.get("result", [])
            if result.get("from_name") == CONTROL
            for text in result["value"].get("choices") or result["value"].get("text") or []
        ]
        if chosen and not annotation.get("was_cancelled"):
            yield _one(chosen, where), _person(annotation), str(annotation.get("updated_at", ""))


def _one(chosen: Sequence[str], where: str) -> str:
    if len(chosen) != 1:
        raise DataError(f"{where} has {len(chosen)} labels ({', '.join(chosen)}); an image has one class")
    return chosen[0].strip()


def _person(annotation: Mapping[str, Any]) -> str:
    person = annotation.get("completed_by", "")
    return str(person.get("email") or person.get("id", "")) if isinstance(person, Mapping) else f"label-studio:{person}"
