"""Notebooks of docs/ as pages of the site; `python docs/notebooks.py` runs them and keeps what they give.

As a hook of mkdocs it puts a page in the place of each notebook, with the outputs that it was kept with.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

HERE = Path(__file__).resolve().parent
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECONDS = 300  # that a cell may take


def executed(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells give in a folder, of which their outputs do not tell."""
    from nbclient import NotebookClient  # which the site does not need

    found = nbformat.read(notebook, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(found, timeout=SECONDS, resources=where, record_timing=False).execute()
    found, _ = CoalesceStreamsPreprocessor().preprocess(found, {})
    found.metadata = {"kernelspec": found.metadata.kernelspec}
    for output in (output for cell in found.cells for output in cell.get("outputs", ())):
        output.get("data", {}).pop("image/jpeg", None)  # there is a PNG
        if "text" in output:
            output.text = ANSI.sub("", output.text).replace(f"{folder}/", "")
    return found


def on_files(files: Any, config: Any) -> Any:
    """Put a page in the place of each notebook, and its pictures beside it."""
    from mkdocs.structure.files import File

    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        source = Path(notebook.abs_src_path)
        names = {"output_files_dir": f"{source.stem}_files", "unique_key": source.stem}
        text, resources = MarkdownExporter().from_filename(str(source), names)
        files.append(File.generated(config, f"{source.stem}.md", content=text))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, name, content=content))
    return files


def main() -> None:
    """Run all notebooks, each in an empty folder."""
    for notebook in HERE.glob("*.ipynb"):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(notebook, Path(folder)), notebook)
            print(f"ran {notebook.name}")


if __name__ == "__main__":
    main()
