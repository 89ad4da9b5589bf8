"""Write which libraries and weights the project uses, for those who must know: a bill of materials and the licences.

Run     make licences
Reads   requirements.lock, the metadata of the installed libraries, the weights in the repository
Writes  sbom.cdx.json (CycloneDX), THIRD_PARTY.md
"""

from pathlib import Path

from stages.graft.core.stage import run
from stages.graft.maintenance.components import bill_of_materials, licence_table, read_components
from stages.graft.storage.files import json_text, write_text

BILL, LICENCES = Path("sbom.cdx.json"), Path("THIRD_PARTY.md")


def pages(root: Path) -> dict[Path, str]:
    """Give the text of both files."""
    components = read_components(root)
    return {BILL: json_text(bill_of_materials(components)), LICENCES: licence_table(components)}


def main() -> None:
    """Write both files."""
    for path, text in pages(Path()).items():
        write_text(text, path)
        print(f"bill_of_materials: {path}")


if __name__ == "__main__":
    run("bill_of_materials", main, again="make licences")
