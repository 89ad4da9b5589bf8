"""The command `graft`: every command with its options. The work is in `stages/commands/`, imported when it is called.

Run     graft COMMAND --help, in the repository's root
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from stages.graft.core.stage import run

MODEL_HELP = "A bundle's folder, a repository, or models:/NAME@ALIAS."
FILE = click.Path(path_type=Path)


class Command(click.Command):
    """A command that ends as a stage does: the user's mistakes in one line, exit code 1; Ctrl-C 130."""

    def invoke(self, context: click.Context) -> None:
        """Run the command."""
        run(context.command_path, partial(super().invoke, context), again=context.command_path)


class Group(Command, click.Group):
    """A command with commands below it."""

    command_class = Command
    group_class = type


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="graft-images")
def main() -> None:
    """Commands beside the pipeline of Graft; run them in the repository's root.

    Exit codes: 0 done, 1 an error that you can put right, 2 wrong usage, 130 interrupted.

    Completion in bash: eval "$(_GRAFT_COMPLETE=bash_source graft)"; others: zsh_source, fish_source.
    """


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def repro(arguments: tuple[str, ...]) -> None:
    """Run `dvc repro`, after another one in this folder has ended.

    First it looks at images that DVC does not watch: those that a list names, and those in linked folders.

    It takes the options of `dvc repro`.
    """
    from stages.commands.repro import run_repro

    sys.exit(run_repro(arguments))


@main.command()
def report() -> None:
    """Write reports/report.html again from the files.

    It is for after a pull, a commit, or a result restored by DVC.
    """
    from stages.commands.report import rewrite_page

    rewrite_page()


@main.command()
@click.option("--against", metavar="COMMIT", help="A branch, tag or hash. Default: the last result on the same images.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a comment.")
def changes(**options: Any) -> None:
    """Show whether the model is usable, and what changed against an earlier result.

    That is parameters, metrics with their intervals, and test images.
    """
    from stages.commands.changes import print_changes

    print_changes(**options)


@main.command()
@click.option("--num", default=10, show_default=True, help="Commits, and experiments, to look at.")
def compare(num: int) -> None:
    """Show the present result beside earlier commits and experiments.

    Results on the same test images stand together, the most accurate first; of equal states, only the newest.
    """
    from stages.commands.compare import print_results

    print_results(num)


@main.command(
    epilog="Columns: file, label, confidence, unsure, unknown, distance, p_<class> for each class, error; with --maps "
    "also box_left, box_top, box_right, box_bottom."
)
@click.argument("images", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--out", type=FILE, help="A .csv, .jsonl or .parquet file, replaced at the end. Default: CSV on stdout.")
@click.option("--model", default=".", show_default=True, help=MODEL_HELP)
@click.option("--maps", type=FILE, help="A folder for pictures of the heat maps; gives estimated boxes too.")
@click.option("--ray", is_flag=True, help="Use the Ray cluster of the section `compute` of params.yaml.")
def predict(**options: Any) -> None:
    """Classify images, one row for each.

    IMAGES are files, folders (searched at any depth), s3://… of either, or - for names on stdin (one a line, or
    find -print0). The exit code is 1 when some images cannot be read; their rows say why.
    """
    from stages.commands.predict import predict_images

    predict_images(**options)


@main.command(epilog="README.json in the folder describes the input; export.json holds the comparison and the speed.")
@click.option(
    "--format", "format_", required=True, type=click.Choice(("onnx", "openvino")), help="onnx needs optional packages."
)
@click.option(
    "--out",
    type=FILE,
    default=Path("exported"),
    show_default=True,
    help="Folder; an earlier export in it is replaced.",
)
@click.option("--maps", is_flag=True, help="Add the heat map of each answer as an output.")
@click.option("--model", default=".", show_default=True, help=MODEL_HELP)
@click.option(
    "--images", multiple=True, type=click.Path(),
    help="A file or folder of images to compare on; may be repeated. Default: this repository's test split.",
)  # fmt: skip
def export(**options: Any) -> None:
    """Write the whole model as one graph of ONNX or OpenVINO.

    It goes from uint8 pixels to calibrated probabilities. It is compared with the pipeline, and its speed is measured.
    Beside it is classify.py, which classifies image files with the graph and without Graft.
    """
    from stages.commands.export import export_model

    export_model(**options)


@main.command()
@click.option("--model", default=".", show_default=True, help=MODEL_HELP)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in; so does a name.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--corrections", default="corrections", show_default=True, type=FILE, help="Where corrected images go.")
@click.option("--log", type=FILE, help="Keep images, features and answers as Parquet files in this folder.")
@click.option("--max-mb", default=32.0, show_default=True, type=click.FloatRange(0.001, 1000), help="Of a request.")
@click.option(
    "--max-megapixels", default=25.0, show_default=True, type=click.FloatRange(0.001, 178), help="Of an image."
)
def serve(model: str, **options: Any) -> None:
    """Serve a page to try the model, and an interface for programs.

    /docs describes the interface. Ctrl-C ends the server.
    """
    from stages.commands.serve import serve_model

    serve_model(model, **options)


@main.command()
@click.argument("networks", nargs=-1)
def compare_backbones(networks: tuple[str, ...]) -> None:
    """Find the network that suits your images best.

    NETWORKS are names as in backbone.name, each with =WEIGHTS behind it for other weights than the usual; without any,
    all that need no connection. The default head is cross-validated on training and validation images; test images are
    not looked at.
    """
    from stages.commands.compare_backbones import compare_backbones as compare

    compare(networks)


@main.command(epilog="Files: reports/suggestions.csv to fill in, .html to look at, .json and .xml for Label Studio.")
@click.argument("number", type=click.IntRange(min=0))
@click.option(
    "--images", metavar="SOURCE",
    help="A folder, an archive, a list or s3://…; needs no run of the pipeline. Default: those of ingest.unlabelled.",
)  # fmt: skip
@click.option(
    "--out", type=FILE, default="reports/suggestions.csv", show_default=True, help="The CSV; others beside it."
)
def suggest(number: int, images: str | None, out: Path) -> None:
    """Say which images to label next, and why each.

    With few labels or none, they show every kind of image; later, the ones that a head is least sure of. NUMBER 0 shows
    the clusters of the images only.
    """
    from stages.commands.suggest import suggest_images

    suggest_images(number, images, out)


@main.group()
def labels() -> None:
    """Take labels from people."""


@labels.command("import")
@click.argument("file", type=FILE)
@click.option("--who", help="Whose labels they are, where the file does not say. Default: git's user.name.")
def import_(file: Path, who: str | None) -> None:
    """Add labels to the file that ingest.labels names.

    FILE is reports/suggestions.csv or reports/label_errors.csv, filled in, or an export of Label Studio as JSON.
    """
    from stages.commands.labels import import_labels

    import_labels(file, who)


@main.command()
@click.option("--rerun", is_flag=True, help="Also build everything again in a temporary folder and compare the bytes.")
@click.option("--refill", metavar="OUT", help="Put good files of an output back into DVC's cache.")
def verify(rerun: bool, refill: str | None) -> None:
    """Hash again every file that the results rest on.

    These are the files that dvc.lock names, DVC's cache, the store and the weights.
    """
    from stages.commands.verify import refill_cache, verify_everything

    refill_cache(refill) if refill else verify_everything(rerun=rerun)


@main.group(invoke_without_command=True)
@click.pass_context
def store(context: click.Context) -> None:
    """List what the store outside the repository holds."""
    if context.invoked_subcommand is None:
        from stages.commands.store import list_store

        list_store()


@store.command()
@click.option("--older-than", metavar="AGE", help="Not used for this time: 12h, 30d, 4w.")
@click.option("--unused", is_flag=True, help="Not used by this repository's branches, tags, experiments or workspace.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(**options: Any) -> None:
    """Delete what fits every given condition, after asking."""
    from stages.commands.store import prune_store

    prune_store(**options)


@main.command()
def publish() -> None:
    """Write the MLflow run of the present results.

    A second time changes nothing.
    """
    from stages.commands.publish import publish_results

    publish_results()


if __name__ == "__main__":
    main()
