"""The notebook, run headless: every cell, and what each of them shows."""

import ast
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from exphil_tf.evaluation import dashboard
from exphil_tf.foundation.errors import UserError

NOTEBOOK = Path(__file__).parents[2] / "notebooks/evaluation_dashboard.ipynb"


def run_cell(source, names):
    """What Jupyter would show of a cell: the value of its last line, if that is an expression."""
    *body, last = ast.parse(source).body
    is_shown = isinstance(last, ast.Expr)
    done = ast.Module(body if is_shown else [*body, last], [])
    exec(compile(done, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if is_shown else None


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
    names, shown = {}, []
    for cell in cells:
        source = "".join(cell["source"])
        if source.startswith("POLICIES"):
            folders = [str(policies / name) for name in ("one", "exported")]
            source = f"POLICIES = {folders}; DATA = {str(dataset)!r}\nSPLIT = 'train'; FRAMES = 900"
        value = run_cell(source, names)
        if value is not None:
            shown.append(as_text(value))
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
