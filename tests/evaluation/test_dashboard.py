"""The notebook, run headless: every cell, and what each of them shows."""

import ast
import io
import json
import runpy
from pathlib import Path

import pytest
from rich.console import Console

from exphil_tf.evaluation import dashboard
from exphil_tf.foundation.errors import UserError

NOTEBOOK = Path(__file__).parents[2] / "notebooks/evaluation_dashboard.ipynb"


def shown_by(sources, path):
    """What Jupyter shows of each cell: the value of its last line, if that is an expression."""
    lines = ["shown = []"]
    for source in sources:
        tree = ast.parse(source)
        if isinstance(tree.body[-1], ast.Expr):
            value = ast.unparse(tree.body.pop())
            lines += [ast.unparse(tree), f"shown.append({value})"]
        else:
            lines.append(source)
    path.write_text("\n".join(lines), encoding="utf-8")
    return runpy.run_path(str(path))["shown"]


def as_text(shown):
    if hasattr(shown, "_repr_html_"):
        return shown._repr_html_()
    console = Console(width=200, file=io.StringIO())
    console.print(shown)
    return console.file.getvalue()


def test_the_notebook_runs_headless(policies, dataset, tmp_path, monkeypatch):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells), "no outputs are committed"
    monkeypatch.chdir(tmp_path)
    folders = [str(policies / name) for name in ("one", "exported")]
    ours = f"POLICIES = {folders}; DATA = {str(dataset)!r}\nSPLIT = 'train'; FRAMES = 900"
    sources = ["".join(cell["source"]) for cell in cells]
    sources = [ours if source.startswith("POLICIES") else source for source in sources]
    shown = [as_text(value) for value in shown_by(sources, tmp_path / "cells.py")]
    configuration, architecture, inference, likelihoods, accuracy, *charts = shown
    assert "44074" in configuration and "onnx float32" in configuration
    # Sizes add up to the network's.
    assert "44,074" in architecture and "head/trunk" in architecture
    assert inference.count(" nats") > 10 and "surprise" in inference
    assert "markov" in likelihoods and "score" in accuracy
    assert len(charts) == 5 and all(text.count("<svg") == 1 for text in charts)
    # Colours of the page are defined beside each figure, and its rules are not.
    assert all("--policy:" in text and "body {" not in text for text in charts)


def test_no_run_to_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no run here has a policy yet"):
        dashboard.load_policies()
